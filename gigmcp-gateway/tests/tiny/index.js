#!/usr/bin/env node
// The smallest server that is worth starting: it answers each line with what it holds.
require('node:readline')
  .createInterface({ input: process.stdin })
  .on('line', (line) => console.log(JSON.stringify({ id: JSON.parse(line).id, holds: process.env.API_KEY })));

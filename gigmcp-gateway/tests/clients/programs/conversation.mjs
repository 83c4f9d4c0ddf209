// Has the conversation of the tests with the library that is named.
import http2 from 'node:http2';
import https from 'node:https';

const headers = { Authorization: `Bearer ${process.env.API_KEY}` };

// Each gives the text of an answer, with its headers before it.
const libraries = {
  fetch: async (url) => {
    const answer = await fetch(url, { headers });
    return JSON.stringify([...answer.headers]) + (await answer.text());
  },

  https: (url) =>
    new Promise((resolve, reject) => {
      https
        .get(url, { headers }, async (answer) => {
          let text = JSON.stringify(answer.rawHeaders);
          for await (const chunk of answer) text += chunk;
          resolve(text);
        })
        .on('error', reject);
    }),

  http2: (url) =>
    new Promise((resolve, reject) => {
      const { origin, pathname } = new URL(url);
      const session = http2.connect(origin).on('error', reject);
      const stream = session.request({ ':path': pathname, ...headers }).on('error', reject);
      stream.on('response', async (answer) => {
        let text = `spoken ${session.alpnProtocol} ${JSON.stringify(answer)}`;
        for await (const chunk of stream) text += chunk;
        session.close();
        resolve(text);
      });
    }),
};

const get = libraries[process.argv[2]];
const first = await get('https://api.example.com/echo');
console.log(await get('https://evil.test/').then((text) => `answered ${text}`, (error) => `refused ${error.message}`));
console.log(first);
console.log(await get('https://api.example.com/hold'));

// Prints an event stream as it comes.
const headers = { Authorization: `Bearer ${process.env.API_KEY}` };
const answer = await fetch(`https://api.example.com/events?${process.argv[2]}`, { headers });
for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) process.stdout.write(chunk);

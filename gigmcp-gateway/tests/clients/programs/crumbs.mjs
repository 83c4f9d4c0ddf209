// Sends its cookies one by one, as HTTP/2 lets it.
import http2 from 'node:http2';

const session = http2.connect('https://other.example.com');
const stream = session.request({ ':path': '/echo', cookie: ['x=1', 'y=2'] });
stream.resume().on('end', () => session.close());

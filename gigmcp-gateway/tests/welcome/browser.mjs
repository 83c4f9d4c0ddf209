// As much of a browser as the page /welcome asks for: it opens a link, fills in the form if one is shown, and prints what is told.
// Like a browser, it runs no script that the page's policy does not name.
import { createHash } from "node:crypto";

const [, , link, email, password] = process.argv;
const url = new URL(link);
const shown = await fetch(new URL(url.pathname, url));
const page = await shown.text();
const script = page.split("<script>")[1].split("</script>")[0];
const hash = createHash("sha256").update(script).digest("base64");
if (!shown.headers.get("content-security-policy").includes(`script-src 'sha256-${hash}'`)) throw new Error("it does not run");

const status = { textContent: "" };
let submit, address = link;
const form = {
  hidden: true,
  elements: { email: { value: "" }, password: { value: "" }, go: { disabled: false } },
  addEventListener: (_, listener) => { submit = listener; },
};
const requests = [];
const browser = {
  location: url,
  history: { replaceState: (_state, _title, path) => { address = path; } },
  document: { querySelector: (what) => (what === "form" ? form : status) },
  fetch: (path, given) => {
    const headers = { ...given.headers, origin: url.origin, "sec-fetch-site": "same-origin" };
    const asked = fetch(new URL(path, url), { ...given, headers });
    requests.push(asked);
    return asked;
  },
};
new Function(...Object.keys(browser), script)(...Object.values(browser));
const settled = async () => {
  for (let seen = -1; seen !== requests.length;) {
    seen = requests.length;
    await Promise.allSettled(requests);
    await new Promise((resolve) => setImmediate(resolve));
  }
};
// What is told comes once an answer is read.
const told = async (before) => {
  while (status.textContent === before) await settled().then(() => new Promise((resolve) => setImmediate(resolve)));
};
await told("");
if (!form.hidden) {
  const before = status.textContent;
  if (!form.elements.email.readOnly) form.elements.email.value = email;
  form.elements.password.value = password;
  // A button that is pressed twice submits twice, unless it is disabled.
  for (const _ of [1, 2]) if (!form.elements.go.disabled) submit({ preventDefault() {} });
  await told(before);
  await settled();
  if (form.elements.go.disabled) throw new Error("it cannot be tried again");
}
if (address !== url.pathname) throw new Error("the code is left in the history");
console.log(status.textContent);

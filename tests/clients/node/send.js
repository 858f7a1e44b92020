// Posts events with the official CloudEvents SDK for JavaScript: send.js URL binary|structured.
import { CloudEvent, HTTP } from "cloudevents";

const [url, mode] = process.argv.slice(2);
const events = [
  { datacontenttype: "application/json", data: { message: "grüße", n: 1 } },
  { datacontenttype: "text/plain", subject: "a b", myext: "x", data: "plain text" },
  { datacontenttype: "application/octet-stream", data: new Uint8Array([0, 1, 255]) },
  {},
];
for (const [number, fields] of events.entries()) {
  const event = new CloudEvent({ id: `js-${mode}-${number}`, source: "/node", type: "com.example.node", ...fields });
  const { headers, body } = mode === "binary" ? HTTP.binary(event) : HTTP.structured(event);
  const answer = await fetch(url, { method: "POST", headers, body: body ?? "" });
  console.log(answer.status, await answer.text());
  if (answer.status !== 202) process.exit(1);
}

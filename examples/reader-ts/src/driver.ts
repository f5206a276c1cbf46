/** Does what a line of JSON on standard input says, and answers with a line: for the tests of the format. */
import { createInterface } from "node:readline";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { Mailboxes, type Message, type Receipt } from "./mailboxes.js";

const [table = "mailboxes", nowMs = ""] = process.argv.slice(2);
const mailboxes = await Mailboxes.open(new DynamoDBClient({}), table, nowMs === "" ? Date.now : () => Number(nowMs));
const receipts: Receipt[] = [];

function shown(m: Message): unknown {
  const base64 = (bytes: Uint8Array | null) => bytes && Buffer.from(bytes).toString("base64");
  return {
    epoch: m.epoch, partition: m.partition, offset: Number(m.offset), id: m.id, source: m.source ?? null,
    type: m.type ?? null, content_type: m.contentType ?? null, body: base64(m.body),
    time_us: m.timeMicros === undefined ? null : Number(m.timeMicros),
    headers: m.headers.map(([name, value]) => [name, base64(value)]),
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, user, device, limit, start, receipt } = JSON.parse(line);
  const options = { device: device ?? undefined };
  let answer: object = {};
  try {
    if (what === "fetch") {
      const after = receipt === undefined ? undefined : receipts[receipt];
      const page = await mailboxes.fetch(user, { ...options, limit, after });
      receipts.push(page.receipt);
      answer = { messages: page.messages.map(shown), more: page.more };
    } else if (what === "forget") receipts.length = 0;
    else if (what === "ack") await mailboxes.ack(user, receipts[receipt]!, options);
    else if (what === "add_device") answer = { made: await mailboxes.addDevice(user, device, start) };
    else if (what === "remove_device") await mailboxes.removeDevice(user, device);
    else if (what === "devices") answer = { devices: await mailboxes.devices(user) };
  } catch (error) {
    answer = { error: (error as Error).message };
    if (what === "fetch") receipts.push({ boundary: "!~", passed: {}, own: {}, carried: {} });
  }
  console.log(JSON.stringify(answer));
}

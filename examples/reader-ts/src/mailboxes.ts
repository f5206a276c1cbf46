/** A reader of poste-restante mailboxes, by docs/format.md alone: fetch, page, acknowledge, devices. */
import {
  ConditionalCheckFailedException, QueryCommand, UpdateItemCommand, DeleteItemCommand,
  type DynamoDBClient, type QueryCommandInput,
} from "@aws-sdk/client-dynamodb";
import {
  AFTER_CURSORS, BUNDLE, Reading, offsets, raiseIn,
  type Cursor, type Item, type Offsets, type Page, type Receipt,
} from "./reading.js";

export type { Message, Page, Receipt } from "./reading.js";
type Start = "oldest" | "newest" | "account";

/** Items of the first Query: the cursor, and a bundle. A device's asks for more, since the cursors of
 * other devices stand before the bundles. */
const FIRST_ITEMS = 2, OTHER_DEVICES = 2;
const DEVICE = /^[A-Za-z0-9._:-]{1,64}$/;

export class Mailboxes {
  private constructor(
    private readonly client: DynamoDBClient, private readonly table: string,
    private readonly topic: string, private readonly now: () => number,
  ) {}

  /** Reads the table record. A server reads it again every 60 s: another table_id is another table. */
  static async open(client: DynamoDBClient, table: string, now = Date.now): Promise<Mailboxes> {
    const [record] = (await new Mailboxes(client, table, "", now).query("!table", {})).items;
    if (record?.v?.N !== "1" || record.window_size?.N !== "10000")
      throw new Error(`${table} is no table of format version 1: run \`poste init\``);
    return new Mailboxes(client, table, record.topic!.S!, now);
  }

  /** What waits for a user, or behind an earlier page. limit: messages. Acknowledges nothing. */
  async fetch(
    user: string, { device, limit, after }: { device?: string; limit?: number; after?: Receipt } = {},
  ): Promise<Page> {
    const key = mailboxKey(user), cursorKey = "!" + deviceName(device);
    const wanted = limit === undefined ? undefined : limit + 1; // one more tells whether there is more
    let cursor: Cursor;
    let found;
    if (after === undefined) {
      const first = Math.min(FIRST_ITEMS, wanted ?? FIRST_ITEMS) + (device === undefined ? 0 : OTHER_DEVICES);
      found = await this.query(key, device === undefined ? {} : { ">=": cursorKey }, first);
      const head = found.items[0];
      if (head?.position?.S === cursorKey) cursor = { offsets: offsets(head), inherited: false };
      else if (device === undefined) cursor = { offsets: {}, inherited: false };
      else cursor = { ...(await this.cursor(key)), inherited: true };
    } else {
      cursor = await this.cursor(key, device);
      found = await this.query(key, { ">": after.boundary }, wanted);
    }
    const reading = new Reading(this.topic, cursor, this.now(), limit, after);
    for (;;) {
      reading.add(found.items);
      if (found.last === undefined || reading.more) return reading.page();
      const above = reading.skip(found.last.position!.S!);
      const rest = wanted === undefined ? undefined : wanted - reading.messages.length;
      found = above === undefined
        ? await this.query(key, {}, rest, found.last) : await this.query(key, { ">": above }, rest);
    }
  }

  /** Acknowledges what a reading has passed. It never comes back; repeated, it changes nothing. */
  async ack(user: string, receipt: Receipt, { device }: { device?: string } = {}): Promise<void> {
    const key = mailboxKey(user);
    const raised = Object.entries(receipt.own).sort().filter(([log, o]) => o > (receipt.carried[log] ?? ""));
    for (const [log, offset] of raised)
      if ((await this.raise(key, device, log, offset)) === "no cursor") {
        // All that was passed, at once: what the account had acknowledged would come back else.
        if (await this.create(key, deviceName(device), receipt.passed)) return;
        return this.ack(user, receipt, { device }); // somebody else has just made it
      }
  }

  /** Gives a device a cursor of its own. False: it has one, which stays as it is. */
  async addDevice(user: string, device: string, start: Start = "account"): Promise<boolean> {
    const key = mailboxKey(user);
    const at = start === "oldest" ? {} : start === "account" ? (await this.cursor(key)).offsets : await this.newest(key);
    return this.create(key, deviceName(device), at);
  }

  /** The devices of a mailbox that have a cursor of their own. */
  async devices(user: string): Promise<string[]> {
    return (await this.cursors(mailboxKey(user))).map((item) => item.position!.S!.slice(1)).filter(Boolean);
  }

  async removeDevice(user: string, device: string): Promise<void> {
    const Key = { user_id: { S: mailboxKey(user) }, position: { S: "!" + deviceName(device) } };
    await this.client.send(new DeleteItemCommand({ TableName: this.table, Key }));
  }

  /** A device's own cursor, else the account's. */
  private async cursor(key: string, device?: string): Promise<Cursor> {
    for (const position of new Set(["!" + deviceName(device), "!"])) {
      const [item] = (await this.query(key, { "=": position })).items;
      const inherited = device !== undefined && position === "!";
      if (item !== undefined) return { offsets: offsets(item), inherited };
    }
    return { offsets: {}, inherited: device !== undefined };
  }

  private async cursors(key: string): Promise<Item[]> {
    const all: Item[] = [];
    let found: { items: Item[]; last?: Item } | undefined;
    do {
      found = await this.query(key, { "<=": AFTER_CURSORS }, undefined, found?.last);
      all.push(...found.items);
    } while (found.last !== undefined);
    return all;
  }

  /** Per log, the last offset that is, or was, stored: no bundle is parsed. */
  private async newest(key: string): Promise<Offsets> {
    const newest: Offsets = {};
    for (const item of await this.cursors(key))
      for (const [log, offset] of Object.entries(offsets(item))) raiseIn(newest, log, offset);
    for (let below: string | undefined; ;) {
      const { items } = await this.query(key, below === undefined ? {} : { "<": below }, 1, undefined, false);
      const top = items[0]?.position?.S ?? "!";
      if (top.startsWith("!")) return newest;
      const [, log, last] = BUNDLE.exec(top) ?? [];
      if (log !== undefined) raiseIn(newest, log, last!);
      below = log === undefined ? top : log + ".";
    }
  }

  private async raise(key: string, device: string | undefined, log: string, offset: string): Promise<"done" | "no cursor"> {
    const further = "attribute_not_exists(#log) OR #log < :offset";
    try {
      await this.client.send(new UpdateItemCommand({
        TableName: this.table,
        Key: { user_id: { S: key }, position: { S: "!" + deviceName(device) } },
        UpdateExpression: "SET #log = :offset REMOVE expires_at, purged_at",
        ConditionExpression: device === undefined ? further : `attribute_exists(#position) AND (${further})`,
        ExpressionAttributeNames: { "#log": log, ...(device !== undefined && { "#position": "position" }) },
        ExpressionAttributeValues: { ":offset": { N: String(BigInt(offset)) } },
        ReturnValues: "UPDATED_NEW",
        ...(device !== undefined && { ReturnValuesOnConditionCheckFailure: "ALL_OLD" as const }),
      }));
    } catch (error) {
      if (!(error instanceof ConditionalCheckFailedException)) throw error;
      if (device !== undefined && error.Item === undefined) return "no cursor";
    }
    return "done"; // further already is what was wanted
  }

  private async create(key: string, device: string, wanted: Offsets): Promise<boolean> {
    const at = { ...wanted }; // at or above what was purged: a replay may write that again
    const [account] = (await this.query(key, { "=": "!" })).items;
    for (const [log, offset] of Object.entries(offsets(account ?? {}, "purged."))) raiseIn(at, log, offset);
    const logs = Object.entries(at).sort();
    try {
      await this.client.send(new UpdateItemCommand({
        TableName: this.table,
        Key: { user_id: { S: key }, position: { S: "!" + device } },
        ConditionExpression: "attribute_not_exists(#position)",
        ExpressionAttributeNames: { "#position": "position", ...Object.fromEntries(logs.map(([log], n) => [`#l${n}`, log])) },
        ReturnValues: "ALL_NEW",
        ...(logs.length > 0 && {
          UpdateExpression: "SET " + logs.map((_, n) => `#l${n} = :l${n}`).join(", "),
          ExpressionAttributeValues: Object.fromEntries(logs.map(([, o], n) => [`:l${n}`, { N: String(BigInt(o)) }])),
        }),
      }));
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return false;
      throw error;
    }
    return true;
  }

  private async query(
    key: string, bound: Record<string, string>, limit?: number, start?: Item, forward = true,
  ): Promise<{ items: Item[]; last?: Item }> {
    const [operator, at] = Object.entries(bound)[0] ?? [];
    const input: QueryCommandInput = {
      TableName: this.table, ConsistentRead: true, Limit: limit, ExclusiveStartKey: start,
      KeyConditionExpression: "user_id = :user" + (operator === undefined ? "" : ` AND #position ${operator} :key`),
      ExpressionAttributeValues: { ":user": { S: key }, ...(at !== undefined && { ":key": { S: at } }) },
      ...(operator !== undefined && { ExpressionAttributeNames: { "#position": "position" } }),
      ...(!forward && { ScanIndexForward: false }),
    };
    const answer = await this.client.send(new QueryCommand(input));
    return { items: answer.Items ?? [], last: answer.LastEvaluatedKey };
  }
}

function mailboxKey(user: string): string {
  return user.startsWith("!") ? "!" + user : user;
}

/** Empty for the account. */
function deviceName(device: string | undefined): string {
  if (device !== undefined && !DEVICE.test(device)) throw new RangeError(`not the name of a device: ${device}`);
  return device ?? "";
}

/** The rule for readers, as docs/format.md gives it: items in key order, folded into a page. Pure.
 *
 * Offsets stay the 19 digits of the sort keys: they sort as the numbers do, and pass 2^53. */
import type { AttributeValue } from "@aws-sdk/client-dynamodb";

export type Item = Record<string, AttributeValue>;
/** Per log, `<epoch:04>.<partition:05>`, an offset. */
export type Offsets = Record<string, string>;

export interface Message {
  epoch: number; partition: number; offset: bigint; id: string; body: Uint8Array;
  source?: string; type?: string; timeMicros?: bigint; contentType?: string; expiresAtMs?: bigint;
  headers: [string, Uint8Array | null][];
}
/** What a reading has passed, for `ack` and for the next `fetch`: plain JSON, to keep or to seal.
 * own: of that, all but what only the account had acknowledged, when a device without a cursor read from
 * the account's. carried: what the reading's own cursor covered already, so that there is nothing to
 * acknowledge. */
export interface Receipt { boundary: string; passed: Offsets; own: Offsets; carried: Offsets }
/** The cursor that a reading begins with. inherited: the account's, for a device without one. */
export interface Cursor { offsets: Offsets; inherited: boolean }
export interface Page { messages: Message[]; receipt: Receipt; more: boolean }

/** Sorts behind every cursor and before every bundle. */
export const AFTER_CURSORS = "!~";
export const BUNDLE = /^(\d{4}\.\d{5})\.(\d{19})\.(\d{19})$/;

/** One page in the making: items in key order, and how far it has come in each log. */
export class Reading {
  readonly messages: Message[] = [];
  more = false;
  private boundary: string;
  private readonly passed: Offsets;
  private readonly own: Offsets;
  private readonly carried: Offsets;
  private readonly hidden: Offsets; // up to where all was acknowledged, or read by an earlier page
  private readonly seen = new Set<string>();

  constructor(
    private readonly topic: string, cursor: Cursor, private readonly now: number,
    private readonly limit: number | undefined, after: Receipt | undefined,
  ) {
    this.boundary = after?.boundary ?? AFTER_CURSORS;
    this.own = { ...after?.own };
    this.carried = { ...after?.carried };
    this.hidden = { ...after?.passed };
    for (const [log, offset] of Object.entries(cursor.offsets))
      for (const known of cursor.inherited ? [this.hidden] : [this.own, this.carried, this.hidden])
        raiseIn(known, log, offset);
    this.passed = { ...this.hidden };
  }

  add(items: Item[]): void {
    for (const item of items) {
      const key = item.position!.S!;
      if (key.startsWith("!")) continue; // a cursor
      const [, log, last] = BUNDLE.exec(key) ?? [];
      if (log === undefined || (last! > (this.passed[log] ?? "") && !this.take(item, log))) {
        if (!this.more && this.messages.length === 0) throw new Error(`cannot read the item at ${key}`);
        this.more = true; // full, or before an item that cannot be read: never on as if it were not there
        return;
      }
      this.pass(log, last!);
      this.boundary = key;
    }
  }

  /** Where to go on when a Query ended at a key; undefined: right behind it. */
  skip(last: string): string | undefined {
    if (last.startsWith("!")) return AFTER_CURSORS;
    const [, log = "", offset = "~"] = BUNDLE.exec(last) ?? [];
    return offset > (this.hidden[log] ?? "") ? undefined : (this.boundary = `${log}.${this.hidden[log]}.~`);
  }

  page(): Page {
    const { boundary, passed, own, carried } = this;
    return { messages: this.messages, more: this.more, receipt: { boundary, passed, own, carried } };
  }

  /** Everything of this log up to an offset was passed, which the reading may acknowledge. */
  private pass(log: string, offset: string): void {
    if (offset > (this.passed[log] ?? "")) this.passed[log] = this.own[log] = offset;
  }

  /** Passes the messages of a bundle. False: the page is full, or the item cannot be read. */
  private take(item: Item, log: string): boolean {
    const messages = decode(item, log, this.topic);
    if (messages === undefined) return false;
    for (const message of messages) {
      const offset = digits(message.offset), { source, id, body, expiresAtMs } = message;
      if (offset <= (this.passed[log] ?? "")) continue; // the drop rule
      const identity = JSON.stringify([source, id, Buffer.from(body).toString("base64")]);
      const expired = expiresAtMs !== undefined && expiresAtMs <= BigInt(this.now);
      if (!expired && !(source !== undefined && this.seen.has(identity))) {
        if (this.messages.length === this.limit) {
          const reached = `${log}.${this.passed[log] ?? ""}.~`;
          if (this.passed[log] !== undefined && reached > this.boundary) this.boundary = reached;
          return !(this.more = true);
        }
        this.messages.push(message);
        this.seen.add(identity);
      }
      this.pass(log, offset);
    }
    return true;
  }
}

/** The messages of a bundle; undefined where it is of another version, or holds what its key does not say. */
function decode(item: Item, log: string, topic: string): Message[] | undefined {
  const [, , last, first] = BUNDLE.exec(item.position!.S!)!;
  if (item.v?.N !== "1" || item.messages?.L === undefined) return undefined;
  const [epoch, partition] = log.split(".").map(Number) as [number, number];
  const messages = item.messages.L.map(({ M }): Message => {
    const offset = BigInt(M!.o!.N!), flat = M!.h?.L ?? [];
    return {
      epoch, partition, offset, id: M!.i?.S ?? `${topic}/${epoch}/${partition}/${offset}`, body: M!.b!.B!,
      source: M!.s?.S, type: M!.y?.S, contentType: M!.c?.S,
      timeMicros: M!.t && BigInt(M!.t.N!), expiresAtMs: M!.e && BigInt(M!.e.N!),
      headers: flat.flatMap((name, n) => (n % 2 ? [] : [[name.S!, flat[n + 1]?.B ?? null]])),
    };
  });
  const says = messages.length > 0 && digits(messages[0]!.offset) === first && digits(messages.at(-1)!.offset) === last;
  return says ? messages : undefined;
}

/** prefix: "purged." for the offsets up to which the mailbox was purged. */
export function offsets(cursor: Item, prefix = ""): Offsets {
  const found: Offsets = {};
  for (const [name, value] of Object.entries(cursor)) {
    const log = name.slice(prefix.length);
    if (name.startsWith(prefix) && /^\d{4}\.\d{5}$/.test(log)) found[log] = digits(BigInt(value.N!));
  }
  return found;
}

function digits(offset: bigint): string {
  return offset.toString().padStart(19, "0");
}

export function raiseIn(known: Offsets, log: string, offset: string): void {
  if (offset > (known[log] ?? "")) known[log] = offset;
}

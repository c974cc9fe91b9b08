/** A change stream over several shards: an event is delivered once no shard can have an earlier one. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ShardAnswer } from './backend.js';
import type { RouterCursor } from './cursor-store.js';
import { isResumable, RouterError, ShardError } from './errors.js';
import { type Doc, doc, fieldOf, type RawValue, rawValue, textOf, withoutField } from './raw-values.js';
import { cursorOf, RemoteCursor } from './remote-cursor.js';
import { okay, type Request } from './request.js';
import { firstItem } from './vector-clock.js';

const BATCH_BYTES = 15 * 1024 * 1024;
/** How often the list of shards is looked at. */
const SHARDS_EVERY_MS = 1000;
const DEFAULT_WAIT_MS = 1000;

/** What a stream is made of. */
export interface StreamOptions {
  readonly ns: string;
  readonly answers: readonly ShardAnswer[];
  readonly session: Doc;
  /** Events up to this token are left out. */
  readonly after: string | undefined;
  /** Opens the stream on shards that have been added. */
  readonly more: ((request: Request, shards: readonly string[]) => Promise<ShardAnswer[]>) | undefined;
}

/** The token by which an event is sorted. */
export function tokenOf(event: Buffer): string {
  const key = firstItem(fieldOf(event, '$sortKey'));
  return (key && textOf(fieldOf(key.bytes, '_data'))) ?? '';
}

/** One shard's stream, and the request for more that is on its way. */
interface Source {
  readonly remote: RemoteCursor;
  pending: Promise<void> | undefined;
  failure: unknown;
}

/** Merges the shards' streams by their tokens, which are texts in the order of time. */
export class StreamCursor implements RouterCursor {
  id = 0n;
  readonly #ns: string;
  readonly #session: Doc;
  readonly #more: StreamOptions['more'];
  readonly #sources: Source[];
  #after: string | undefined;
  #highWaterMark: string;
  #shardsSeenAt = Date.now();
  #operationTime: RawValue | undefined;

  constructor({ ns, answers, session, after, more }: StreamOptions) {
    this.#ns = ns;
    this.#session = session;
    this.#more = more;
    this.#after = after;
    this.#sources = answers.map(sourceOf);
    this.#highWaterMark = after ?? this.#promised;
  }

  /** The token up to which all events have been delivered. */
  get highWaterMark(): string {
    return this.#highWaterMark;
  }

  /** The lowest token that a shard has promised. */
  get #promised(): string {
    return this.#sources.map(({ remote }) => remote.promised).reduce((a, b) => (b < a ? b : a));
  }

  async more(request: Request): Promise<Doc> {
    try {
      return await this.#next(request);
    } catch (error) {
      request.parts.cursors.remove(this.id);
      await this.kill(request);
      throw labelled(error);
    }
  }

  async kill(request: Request): Promise<void> {
    await Promise.all(this.#sources.map(({ remote }) => remote.kill(request, this.#session)));
  }

  /** The next events, as soon as there are some, or none after the wait. Errors: as a getMore on a shard. */
  async take(
    request: Request,
    { count, waitMs }: { readonly count: number; readonly waitMs: number },
  ): Promise<Buffer[]> {
    const events: Buffer[] = [];
    const until = Date.now() + waitMs;
    for (;;) {
      this.#drain(events, count);
      if (events.length > 0 || Date.now() >= until) break;
      this.#ask(request, Math.max(1, until - Date.now()));
      await this.#arrival(until);
    }
    this.#raiseHighWaterMark();
    return events;
  }

  async #next(request: Request): Promise<Doc> {
    const { command } = request;
    await this.#joinNewShards(request);
    const count = command.number('batchSize') || Number.POSITIVE_INFINITY;
    const waitMs = command.has('maxTimeMS') ? command.number('maxTimeMS') : DEFAULT_WAIT_MS;
    const events = await this.take(request, { count, waitMs });
    const isOver = isInvalidate(events.at(-1));
    if (isOver) {
      request.parts.cursors.remove(this.id);
      await this.kill(request);
    }
    const nextBatch = events.map((event) => withoutField(event, '$sortKey'));
    const postBatchResumeToken = this.#resumeToken(nextBatch.at(-1));
    const cursor = doc({ nextBatch, postBatchResumeToken, id: isOver ? 0n : this.id, ns: this.#ns });
    return okay({ cursor, operationTime: this.#operationTime });
  }

  /** The last event's own token where nothing beyond it is known: it may hold more than its text. */
  #resumeToken(last: Buffer | undefined): RawValue {
    const token = last && fieldOf(last, '_id');
    if (token !== undefined && textOf(fieldOf(token.bytes, '_data')) === this.#highWaterMark) return token;
    return rawValue({ _data: this.#highWaterMark });
  }

  /** Moves what is ready into `events`. */
  #drain(events: Buffer[], count: number): void {
    let bytes = 0;
    while (events.length < count) {
      const ready = this.#ready();
      if (ready === undefined) return;
      const { remote, token } = ready;
      const event = remote.head as Buffer;
      if (bytes + event.length > BATCH_BYTES && events.length > 0) return;
      remote.shift();
      if (token > this.#highWaterMark) this.#highWaterMark = token;
      if (this.#after !== undefined && token <= this.#after) continue;
      this.#after = undefined;
      bytes += event.length;
      events.push(event);
      // Nothing may follow it, and the stream ends with it.
      if (isInvalidate(event)) return;
    }
  }

  /** The earliest event, if no shard can still bring an earlier one. */
  #ready(): { remote: RemoteCursor; token: string } | undefined {
    let first: { remote: RemoteCursor; token: string } | undefined;
    for (const { remote } of this.#sources) {
      if (remote.head === undefined) continue;
      const token = tokenOf(remote.head);
      if (first === undefined || token < first.token) first = { remote, token };
    }
    if (first === undefined) return undefined;
    const { token } = first;
    const waits = this.#sources.some(({ remote }) => remote.head === undefined && remote.promised < token);
    return waits ? undefined : first;
  }

  /** Asks every shard that has nothing here for more, unless it is being asked. */
  #ask(request: Request, waitMs: number): void {
    for (const source of this.#sources) {
      const { remote, pending } = source;
      if (remote.head !== undefined || pending !== undefined || !remote.isOpen) continue;
      source.pending = this.#fetch(request, source, waitMs);
    }
  }

  async #fetch(request: Request, source: Source, waitMs: number): Promise<void> {
    const { remote } = source;
    try {
      const answer = await remote.fetch(request, doc({ maxTimeMS: waitMs }, this.#session));
      this.#operationTime = answer.get('operationTime') ?? this.#operationTime;
      remote.promised = promisedBy(cursorOf(answer)) ?? remote.promised;
    } catch (error) {
      // Told at the next look: nobody may be waiting now.
      source.failure = error;
    } finally {
      source.pending = undefined;
    }
  }

  /** Waits until a shard has answered, or the time is up. */
  async #arrival(until: number): Promise<void> {
    const stop = new AbortController();
    const pending = this.#sources.flatMap((source) => source.pending ?? []);
    const timer = sleep(Math.max(0, until - Date.now()), undefined, { signal: stop.signal });
    try {
      await Promise.race([...pending, timer]);
    } finally {
      timer.catch(() => undefined);
      stop.abort();
    }
    for (const { failure } of this.#sources) if (failure !== undefined) throw failure;
  }

  #raiseHighWaterMark(): void {
    if (this.#ready() !== undefined) return;
    const buffered = this.#sources.flatMap(({ remote }) => (remote.head === undefined ? [] : tokenOf(remote.head)));
    const waiting = this.#sources
      .filter(({ remote }) => remote.head === undefined)
      .map(({ remote }) => remote.promised);
    const promised = waiting.reduce((a, b) => (b < a ? b : a), waiting[0] ?? this.#highWaterMark);
    const isBelowAll = buffered.every((token) => promised < token);
    if (isBelowAll && promised > this.#highWaterMark) this.#highWaterMark = promised;
  }

  async #joinNewShards(request: Request): Promise<void> {
    if (Date.now() - this.#shardsSeenAt > SHARDS_EVERY_MS) {
      this.#shardsSeenAt = Date.now();
      await request.catalog.loadShards();
    }
    const known = this.#sources.map(({ remote }) => remote.shard);
    const added = request.backend.shards.filter((shard) => !known.includes(shard));
    if (added.length === 0 || this.#more === undefined) return;
    this.#sources.push(...(await this.#more(request, added)).map(sourceOf));
  }
}

function sourceOf({ shard, answer }: ShardAnswer): Source {
  const remote = new RemoteCursor(shard, answer);
  remote.promised = promisedBy(cursorOf(answer)) ?? '';
  return { remote, pending: undefined, failure: undefined };
}

function promisedBy(cursor: ReadonlyMap<string, RawValue>): string | undefined {
  const token = cursor.get('postBatchResumeToken');
  return token && textOf(fieldOf(token.bytes, '_data'));
}

function isInvalidate(event: Buffer | undefined): boolean {
  return event !== undefined && textOf(fieldOf(event, 'operationType')) === 'invalidate';
}

/** The error with the label by which drivers know that they may resume. */
function labelled(error: unknown): unknown {
  const labels = { errorLabels: ['ResumableChangeStreamError'] };
  if (error instanceof RouterError && isResumable(error.code)) {
    return new RouterError(error.code, error.codeName, error.message, { ...error.extra, ...labels });
  }
  if (error instanceof ShardError && isResumable(error.code)) {
    const answer = new Map([...error.answer, ['errorLabels', rawValue(labels.errorLabels)] as const]);
    return new ShardError(answer, error.shard);
  }
  return error;
}

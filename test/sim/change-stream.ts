/** Change streams of a simulated server: cursors over the entries of its oplog that a majority has. */
import { Codes, serverError } from './errors.js';
import { type OplogEntry, timeOf } from './oplog.js';
import type { OpenCursor } from './read-commands.js';
import { type Answer, cursorReply, type Doc, numberOf, type Request } from './request.js';
import type { FakeServer } from './server.js';
import { eventToken, highWaterMark, positionOf, rawEvent, type StreamStages, streamStages } from './stream-events.js';
import { SimulationError } from './world.js';

const KNOWN = new Set([
  ...['allChangesForCluster', 'showExpandedEvents', 'showRawUpdateDescription', 'resumeAfter'],
  'startAtOperationTime',
]);

/** Opens one; its first batch may be empty. Errors: 286 and 280, as a real server's. */
export async function openStream(server: FakeServer, request: Request): Promise<Answer> {
  const [first, ...stages] = request.command['pipeline'] as Doc[];
  const options = first?.['$changeStream'] as Doc;
  for (const name of Object.keys(options))
    if (!KNOWN.has(name)) throw new SimulationError(`a change stream with ${name} is not simulated`);
  const cursor = new StreamCursor(server, options, streamStages(stages));
  const batchSize = (request.command['cursor'] as { batchSize?: number }).batchSize;
  const id = server.cursors.open(cursor);
  return cursor.first(request, id, batchSize === 0);
}

class StreamCursor implements OpenCursor {
  readonly #server: FakeServer;
  readonly #stages: StreamStages;
  readonly #showsDelta: boolean;
  readonly #expands: boolean;
  /** The entry to look at next, and its event. */
  #entry = 0;
  #event = 0;
  #token: string;
  #isOpen = true;

  constructor(server: FakeServer, options: Doc, stages: StreamStages) {
    this.#server = server;
    this.#stages = stages;
    this.#showsDelta = options['showRawUpdateDescription'] === true;
    this.#expands = options['showExpandedEvents'] === true;
    const resume = options['resumeAfter'] as { _data: string } | undefined;
    if (resume === undefined) {
      const time = timeOf(options['startAtOperationTime'] as Parameters<typeof timeOf>[0]);
      this.#goTo(time, undefined);
      this.#token = highWaterMark(time);
    } else {
      const { time, index } = positionOf(resume._data);
      this.#goTo(time, index);
      this.#token = resume._data;
    }
  }

  async first(request: Request, id: number, isEmpty: boolean): Promise<Answer> {
    const documents = isEmpty ? [] : this.#take();
    return { reply: this.#reply(request, documents, id, true), time: this.#server.state.oplog.committedTime };
  }

  async more(request: Request): Promise<Answer> {
    const awaitMs = numberOf(request.command['maxTimeMS'] ?? 1000);
    const untilMs = this.#server.nowMs + awaitMs;
    let documents = this.#take();
    while (documents.length === 0 && this.#server.nowMs < untilMs && this.#isOpen) {
      await this.#server.news(untilMs - this.#server.nowMs);
      documents = this.#take();
    }
    if (!this.#isOpen) throw serverError(Codes.CursorKilled, 'operation was interrupted');
    const id = numberOf(request.command['getMore']);
    return { reply: this.#reply(request, documents, id, false), time: this.#server.state.oplog.committedTime };
  }

  close(): void {
    this.#isOpen = false;
  }

  #reply(request: Request, documents: readonly Buffer[], id: number, isFirst: boolean): Doc {
    const token = { _data: this.#token };
    return cursorReply(request, { documents, id, ns: 'admin.$cmd.aggregate', isFirst, token });
  }

  #goTo(time: number, index: number | undefined): void {
    const { entries } = this.#server.state.oplog;
    const [oldest] = entries;
    if (oldest !== undefined && oldest.time > time)
      throw serverError(
        Codes.ChangeStreamHistoryLost,
        'Resume of change stream was not possible, as the resume point may no longer be in the oplog.',
      );
    const found = entries.findIndex((each) => each.time >= time);
    this.#entry = found < 0 ? entries.length : found;
    if (index === undefined) return;
    if (entries[found]?.time !== time) throw serverError(280, 'cannot resume stream; the resume token was not found');
    this.#event = index + 1;
  }

  /** The next events that a majority has; moves the position. */
  #take(): Buffer[] {
    const { entries, committed } = this.#server.state.oplog;
    const limit = this.#server.chaos.splitsBatch() ? 1 + this.#server.chaos.random.int(3) : 1000;
    const documents: Buffer[] = [];
    while (this.#entry < committed) {
      const entry = entries[this.#entry] as OplogEntry;
      while (this.#event < entry.events.length) {
        if (documents.length >= limit) return documents;
        const index = this.#event++;
        if (!this.#shows(entry, index)) continue;
        documents.push(this.#stages.project(rawEvent(entry, index, this.#showsDelta)));
        this.#token = eventToken(entry, index);
      }
      const isTold = documents.length > 0 && this.#token.startsWith(highWaterMark(entry.time).slice(0, 18));
      if (!isTold) this.#token = newer(this.#token, highWaterMark(entry.time));
      this.#entry++;
      this.#event = 0;
    }
    return documents;
  }

  #shows(entry: OplogEntry, index: number): boolean {
    const event = entry.events[index];
    if (event === undefined) return false;
    if (!this.#expands && !PLAIN.has(event.operationType)) return false;
    return this.#stages.passes(event);
  }
}

const PLAIN = new Set(['insert', 'update', 'replace', 'delete', 'drop', 'rename', 'dropDatabase']);

function newer(a: string, b: string): string {
  return a > b ? a : b;
}

/** Remembers what a cluster has not answered yet, for progress and log lines. */
import type { Doc } from '../bson/bson.js';

/** A command that is worth a line when it has had no answer for so long. */
const STALL_MS = 2000;
/** Reads may take their time on large collections. */
const SLOW_READ_MS = 10_000;
/** So many of a cluster's commands without an answer are named. */
const MAX_NAMED = 3;

const READS = new Set(['find', 'aggregate', 'getMore', 'count', 'collStats', 'dataSize', 'dbStats']);
/** The server is not done with these before hours have passed, and tells how far it is by other means. */
const LONG = new Set(['createIndexes']);

interface Sent {
  readonly text: string;
  readonly atMs: number;
  readonly limitMs: number;
}

/**
 * What one cluster is being waited for: work that is tried again, each piece with its own line until it goes on, and
 * commands that have been sent and not answered. What one piece of work achieves says nothing about another's.
 */
export class Waiting {
  readonly #name: string;
  readonly #outages = new Map<object, string>();
  readonly #sent = new Set<Sent>();

  /** The cluster's name. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Says what a piece of work waits for, or that it goes on or has ended. `task` stands for the work. */
  tell(task: object, text: string | undefined): void {
    if (text === undefined) this.#outages.delete(task);
    else this.#outages.set(task, text);
  }

  /** Notes that a command is sent; to be called again when it is answered. */
  sent(db: string, command: Doc): () => void {
    const [[name, first] = ['command', '']] = Object.entries(command);
    if (LONG.has(name)) return () => undefined;
    const awaitMs = name === 'getMore' ? Number(command['maxTimeMS'] ?? SLOW_READ_MS) : 0;
    const limitMs = (READS.has(name) && awaitMs === 0 ? SLOW_READ_MS : STALL_MS) + awaitMs;
    const on = typeof first === 'string' ? ` of ${db}.${first}` : '';
    const sent: Sent = { text: `${name}${on}`, atMs: performance.now(), limitMs };
    this.#sent.add(sent);
    return () => this.#sent.delete(sent);
  }

  /** The work that has been tried again the longest; undefined when all goes on. */
  get outage(): string | undefined {
    const [first] = this.#outages.values();
    return first;
  }

  /** One line for each: retries, and commands without an answer, the oldest of them. */
  get lines(): readonly string[] {
    const now = performance.now();
    const late = [...this.#sent].filter(({ atMs, limitMs }) => now - atMs > limitMs).slice(0, MAX_NAMED);
    const slow = late.map(
      ({ text, atMs }) => `${this.#name} has not answered ${text} for ${Math.round((now - atMs) / 1000)} s`,
    );
    return [...new Set([...this.#outages.values(), ...slow])];
  }
}

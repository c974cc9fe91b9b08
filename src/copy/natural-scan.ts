/** Remembers where a scan in natural order can go on after an interruption. */
import { type Doc, decodeOrdered, encode } from '../bson/bson.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf, isTransient, safeText, TransientError } from '../cluster/errors.js';
import { currentNode, type Node, sameNode } from '../cluster/node.js';
import type { Logger } from '../lib/logger.js';
import type { NaturalMark } from '../metadata/records.js';

const MARK_MS = 1000;
const MAX_MARKS = 12;
/** The newest ones, which are all kept; of the others every second goes when there are too many. */
const KEPT_MARKS = 4;

interface Counts {
  readonly documents: number;
  readonly bytes: number;
}

/**
 * Where a scan in natural order goes on after an interruption. The server's resume token names a record id. Record ids
 * only grow and a document keeps its own, so everything before the token's was read, and nothing after it can have
 * been; but they are one node's own. So a mark holds only for the server process that gave it, and the node is looked
 * at before and after a scan is opened: another election in between, and it is opened again.
 *
 * A mark whose record was deleted meanwhile is refused (211): then an older one is tried, in the end none.
 * Source: docs/03-copy.md; tried on 4.4.2, 5.0.4, 6.0.5.
 */
export class NaturalScan {
  readonly #source: Cluster;
  readonly #logger: Logger;
  #marks: readonly NaturalMark[];
  #node: Node | undefined;
  #isOpen = false;
  #markedAt = performance.now();

  constructor(source: Cluster, marks: readonly NaturalMark[], logger: Logger) {
    this.#source = source;
    this.#marks = marks;
    this.#logger = logger;
  }

  /** Call before each opening; resolves with what is copied already where the scan goes on. */
  async begin(ns: Namespace, signal: AbortSignal): Promise<Counts | undefined> {
    this.#isOpen = false;
    const node = await currentNode(this.#source, signal);
    if (this.#marks.some((each) => each.process !== node.process)) {
      this.#logger.info(`${nsText(ns)}: the node that its copy was read from is gone; reading it from the beginning`);
      this.#marks = [];
    }
    this.#node = node;
    const mark = this.#marks.at(-1);
    if (mark !== undefined)
      this.#logger.info(`${nsText(ns)}: going on with its copy after ${mark.documents} documents`);
    return mark;
  }

  /** What the find has besides its filter. */
  get fields(): Doc {
    const mark = this.#marks.at(-1);
    return {
      $_requestResumeToken: true,
      ...(mark === undefined ? {} : { $_resumeAfter: decodeOrdered(mark.resumeAfter) }),
    };
  }

  /** Call once the cursor is open. Errors: TransientError when another node may have opened it. */
  async opened(signal: AbortSignal): Promise<void> {
    // Without a process to tell there are no marks, and nothing depends on the node.
    if (this.#isOpen || this.#node?.process === '') return;
    const node = await currentNode(this.#source, signal);
    if (this.#node === undefined || !sameNode(node, this.#node)) {
      throw new TransientError(`the primary of ${this.#source.name} changed while a scan was opened`);
    }
    this.#isOpen = true;
  }

  /** A majority has everything before this token. Resolves with the marks when it is time to store them. */
  advance(resumeAfter: Doc, counts: Counts): readonly NaturalMark[] | undefined {
    const now = performance.now();
    if (this.#node === undefined || this.#node.process === '' || now - this.#markedAt < MARK_MS) return undefined;
    this.#markedAt = now;
    const mark = { resumeAfter: encode(resumeAfter), process: this.#node.process, ...counts };
    this.#marks = thinned([...this.#marks, mark]);
    return this.#marks;
  }

  /** Whether an error means that the newest mark is of no use; it is forgotten then. */
  stepsBack(error: unknown): boolean {
    const code = codeOf(error);
    if (this.#isOpen || this.#marks.length === 0 || code === undefined) return false;
    const isOther = code === Code.CollectionUUIDMismatch || code === Code.QueryPlanKilled || isTransient(error);
    // The mark's record is gone: elsewhere this code may pass, here it will not.
    if (isOther && code !== Code.KeyNotFound) return false;
    this.#logger.info(`A copy cannot go on at its last mark; going back to one before it: ${safeText(error)}`);
    this.#marks = this.#marks.slice(0, -1);
    return true;
  }
}

function thinned(marks: readonly NaturalMark[]): readonly NaturalMark[] {
  if (marks.length <= MAX_MARKS) return marks;
  return marks.filter((_, index) => index % 2 === 0 || index >= marks.length - KEPT_MARKS);
}

/** Joins the operations of a lane into few commands and writes them to the destination. */
import { keyQuery } from '../bson/key-query.js';
import { needsLiteralReplacement } from '../bson/raw-document.js';
import { deleteStatement, deltaStatement, literalReplaceStatement, replaceStatement } from '../bson/raw-statements.js';
import { nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf } from '../cluster/errors.js';
import { type DocumentWriter, isSpread, refusedError, type WriteTarget } from '../documents/document-writer.js';
import { remakeDocuments } from '../documents/remake.js';
import { InvariantError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { awaitAll } from '../lib/tasks.js';
import { metrics } from '../metrics.js';
import { type AppliedCollection, isSequential, type Operation } from './operation.js';
import { type Refetching, refetch, whereToRead } from './refetch.js';

/** Stages of one update; the server compiles each pipeline anew. */
const MAX_FURTHER_DELTAS = 31;
/** Deltas sent as one update: a statement must stay below 16 MB, and what is refused is read again as a whole. */
const MAX_JOINED_BYTES = 1024 * 1024;

/** Applies operations so that all on one document take effect in the order given. */
export interface LaneApplier {
  /** Resolves once a majority has everything. */
  apply(operations: readonly Operation[], signal: AbortSignal): Promise<void>;
}

/**
 * Applies a lane's operations with clients of this thread. Operations on different documents go together, one command
 * per collection and kind, since commands that mix kinds must be short (docs/performance.md); no document is twice in
 * one round. Capped collections, and text keys under a collation, go in stream order, one run of a kind at a time.
 *
 * What the destination refuses because the document has moved on is read again from the source.
 */
export class LocalLaneApplier implements LaneApplier {
  readonly #source: Cluster;
  readonly #writer: DocumentWriter;
  readonly #logger: Logger;
  readonly #refetching: Refetching;

  constructor(source: Cluster, writer: DocumentWriter, logger: Logger, refetching: Refetching) {
    this.#refetching = refetching;
    this.#source = source;
    this.#writer = writer;
    this.#logger = logger;
  }

  async apply(operations: readonly Operation[], signal: AbortSignal): Promise<void> {
    const started = performance.now();
    const rounds = new Map<string, Rounds>();
    const runs = new Map<string, Operation[]>();
    for (const each of operations) {
      if (isSequential(each)) await this.#addToRun(runs, each, signal);
      else addToRounds(rounds, each);
    }
    // All of them, also after a failure: a write that is still under way must not meet those of the next run.
    await awaitAll([...rounds.values()].map(({ sent }) => this.#sendRounds(sent, signal)));
    for (const run of runs.values()) await this.#sendRun(run, signal);
    metrics.applyBatchDuration.record(performance.now() - started);
    metrics.applyBatchEvents.record(operations.length);
  }

  async #addToRun(runs: Map<string, Operation[]>, each: Operation, signal: AbortSignal): Promise<void> {
    const run = runs.get(each.collection.id) ?? [];
    runs.set(each.collection.id, run);
    if (run[0] !== undefined && run[0].kind !== each.kind) {
      await this.#sendRun(run, signal);
      run.length = 0;
    }
    run.push(each);
  }

  async #sendRounds(rounds: readonly ReadonlyMap<string, Operation>[], signal: AbortSignal): Promise<void> {
    // Neighbours together: the server finds and writes them on the same pages.
    for (const round of rounds) await this.#sendRound([...round.values()].sort(byKey), signal);
  }

  async #sendRound(round: readonly Operation[], signal: AbortSignal): Promise<void> {
    if (round.length === 0) return;
    const target = targetOf(round[0] as Operation);
    const puts: Operation[] = [];
    const updates: Operation[] = [];
    const deletes: Operation[] = [];
    const refetches: Operation[] = [];
    const byKind = { put: puts, replace: updates, delta: updates, delete: deletes, refetch: refetches };
    for (const each of round) byKind[each.kind].push(each);
    await awaitAll([
      this.#put(target, puts, signal),
      this.#update(target, updates, signal),
      this.#delete(target, deletes, signal),
      this.#refetch(target, refetches, signal),
    ]);
  }

  async #sendRun(run: readonly Operation[], signal: AbortSignal): Promise<void> {
    const first = run[0];
    if (first === undefined) return;
    const target = targetOf(first);
    if (first.kind === 'put') {
      if (first.collection.capped) await this.#writer.append(target, run.map(contentOf), signal);
      else for (const each of run) await this.#put(target, [each], signal);
      return;
    }
    for (const each of run) await this.#sendOne(target, each, signal);
  }

  async #sendOne(target: WriteTarget, each: Operation, signal: AbortSignal): Promise<void> {
    if (each.kind === 'delete') await this.#delete(target, [each], signal);
    else if (each.kind === 'refetch') await this.#refetch(target, [each], signal);
    else await this.#update(target, [each], signal);
  }

  /** A state that an index does not take is an old one, being replayed: the document as it is now will do. */
  async #put(target: WriteTarget, operations: readonly Operation[], signal: AbortSignal): Promise<void> {
    if (operations.length === 0) return;
    const refused = await this.#writer.put(target, operations.map(contentOf), signal);
    if (refused.length === 0) return;
    const documents = new Set(refused.map((each) => each.document));
    const again = operations.filter((each) => each.content !== undefined && documents.has(each.content));
    await this.#refetch(target, again, signal);
  }

  async #update(target: WriteTarget, operations: readonly Operation[], signal: AbortSignal): Promise<void> {
    if (operations.length === 0) return;
    const refused = await this.#sendUpdates(target, operations, signal);
    if (refused.length === 0) return;
    this.#logger.debug(
      `${nsText(target.ns)}: reading ${refused.length} documents again, because their updates do not fit`,
    );
    await this.#refetch(target, refused, signal);
  }

  /** The operations that were refused: all of them where the server does not know deltas (any more). */
  async #sendUpdates(
    target: WriteTarget,
    operations: readonly Operation[],
    signal: AbortSignal,
  ): Promise<readonly Operation[]> {
    try {
      const refused = await this.#writer.send(target, { kind: 'update', statements: operations.map(updateOf) }, signal);
      return refused.map((error) => operations[error.index] as Operation);
    } catch (error) {
      const code = codeOf(error);
      if (code === Code.UnknownPipelineStage || code === Code.UnknownField) return operations;
      throw error;
    }
  }

  async #delete(target: WriteTarget, operations: readonly Operation[], signal: AbortSignal): Promise<void> {
    if (operations.length === 0) return;
    const statements = operations.map((each) => deleteStatement(queryOf(each)));
    const [error] = await this.#writer.send(target, { kind: 'delete', statements }, signal);
    if (error !== undefined) throw refusedError(target, error);
  }

  /** Capped collections keep a document's place by a replacement; elsewhere place means nothing. */
  async #refetch(target: WriteTarget, operations: readonly Operation[], signal: AbortSignal): Promise<void> {
    if (operations.length === 0) return;
    const { filter } = this.#refetching;
    await this.#source.attempt(`reading ${nsText(target.ns)} again`, signal, async () => {
      // What has another place on a sharded cluster by now would stay at the old one.
      if (isSpread(target.keyPaths)) return this.#remake(target, operations, signal);
      // What is outside the filter by now must go, and nothing else tells: no other event need follow.
      if (filter !== undefined) await this.#delete(target, operations, signal);
      for await (const documents of refetch(this.#source, operations, this.#refetching, signal)) {
        // A document that is gone by now has a delete event that follows.
        if (documents === 'gone') return;
        if (operations[0]?.collection.capped === true) await this.#writer.replaceInPlace(target, documents, signal);
        else await this.#writer.putSurely(target, documents, signal);
      }
    });
  }

  async #remake(target: WriteTarget, operations: readonly Operation[], signal: AbortSignal): Promise<void> {
    const [first] = operations;
    if (first === undefined) return;
    const at = whereToRead(first, this.#refetching);
    const ids = operations.map(idOf);
    await remakeDocuments({ source: this.#source, writer: this.#writer }, { at, target, ids }, signal);
    metrics.refetches.add(operations.length);
  }
}

/** The operations of one collection: `sent[n]` is sent before `sent[n + 1]`, each with no `_id` twice. */
interface Rounds {
  readonly sent: Map<string, Operation>[];
  /** The last round that holds a key. */
  readonly last: Map<string, number>;
}

/**
 * Puts an operation into the rounds of its collection.
 *
 * Why rounds: the statements of an unordered command may be carried out in any order, so one command must not hold two
 * operations on one document. Sending a command for each operation would keep the order, but costs a round trip per
 * event. Cutting the lane where a key comes up again would let one hot document (a counter) cut all others into tiny
 * commands.
 *
 * The idea: each key has its own sequence. The first operation on a key goes into round 0, the next one into round 1,
 * and so on; the rounds are sent one after the other. A later operation on a key joins the last one where it can
 * (`join`): then it takes no further round at all.
 *
 * Example: `put a, delta a, put b, delta b, delta a, delete b` gives round 0: `put a, delete b`; round 1: `delta a +
 * delta a`. The delta cannot join a put; the two deltas join; the delete takes the place of what came before it on b.
 *
 * Invariant: for each key, the rounds hold its operations in stream order, and no round holds a key twice.
 */
function addToRounds(rounds: Map<string, Rounds>, each: Operation): void {
  const { text } = each.key;
  const own = rounds.get(each.collection.id) ?? { sent: [], last: new Map<string, number>() };
  rounds.set(each.collection.id, own);
  const last = own.last.get(text);
  const earlier = last === undefined ? undefined : own.sent[last]?.get(text);
  const joined = earlier === undefined ? undefined : join(earlier, each);
  const index = last === undefined ? 0 : joined === undefined ? last + 1 : last;
  const round = own.sent[index] ?? new Map<string, Operation>();
  own.sent[index] = round;
  round.set(text, joined ?? each);
  own.last.set(text, index);
}

function byKey(a: Operation, b: Operation): number {
  return a.key.text < b.key.text ? -1 : 1;
}

/**
 * One operation with the effect of two on the same document, or undefined where there is none.
 *
 * - A whole document (put, replace), a delete or a refetch ends what the earlier operation did: it takes its place.
 * - A delta changes what is there, so it needs the earlier state: it can only follow another delta, as a further
 *   stage of one update. Stages and bytes are limited: the server compiles each pipeline anew, and a delta that the
 *   destination refuses has the whole document read again.
 * - Never when the keys are not exact or their identities differ: equal texts may then be two documents (two Decimals
 *   that round to one Double; two shards with one `_id`), and joining would lose one of them.
 */
function join(earlier: Operation, each: Operation): Operation | undefined {
  if (!earlier.key.exact || !each.key.exact || earlier.key.identity !== each.key.identity) return undefined;
  if (each.kind === 'delta') {
    const further = earlier.further ?? [];
    if (earlier.kind !== 'delta' || each.content === undefined || further.length >= MAX_FURTHER_DELTAS)
      return undefined;
    const deltas = [earlier.content, ...further, each.content];
    if (deltas.reduce((sum, delta) => sum + (delta?.length ?? 0), 0) > MAX_JOINED_BYTES) return undefined;
    return { ...earlier, further: [...further, each.content] };
  }
  // What replaces a put stays one: it may have been preceded by a delete, so the key's old bytes must go.
  return each.kind === 'replace' && earlier.kind === 'put' ? { ...each, kind: 'put' } : each;
}

function updateOf(operation: Operation): Buffer {
  const content = contentOf(operation);
  const query = queryOf(operation);
  if (operation.kind === 'delta') return deltaStatement(query, [content, ...(operation.further ?? [])]);
  return needsLiteralReplacement(content) ? literalReplaceStatement(query, content) : replaceStatement(query, content);
}

/**
 * What names the operation's document on the destination. With a sharded source that is its whole key: a document that
 * changes its shard is deleted there and inserted here, and the delete may come last.
 */
function queryOf({ id, wholeKey, collection }: Operation): Buffer {
  const { source } = collection.keyPaths;
  return source.length === 0 ? id : keyQuery(wholeKey, source);
}

function idOf({ id }: Operation): Buffer {
  return id;
}

function contentOf(operation: Operation): Buffer {
  if (operation.content === undefined) throw new InvariantError(`a ${operation.kind} operation without content`);
  return operation.content;
}

function targetOf(operation: Operation): WriteTarget {
  return targetOfCollection(operation.collection);
}

/** Where a collection's documents go. */
export function targetOfCollection(collection: AppliedCollection): WriteTarget {
  if (collection.destinationUuid === undefined)
    throw new InvariantError(`${collection.name} has not been created on the destination`);
  return { ns: collection.ns, uuid: collection.destinationUuid, keyPaths: collection.keyPaths };
}

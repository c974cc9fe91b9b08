/** Writes the documents of a metadata database, so that no earlier holder's late write replaces them. */
import { type Doc, sizeOf } from '../bson/bson.js';
import { confirmed } from '../cluster/confirmed.js';
import {
  Code,
  codeOf,
  isMaybeSent,
  safeText,
  statementError,
  TransientError,
  tagMaybeSent,
} from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { AppError } from '../errors.js';
import { inChunks } from '../lib/in-chunks.js';
import { IDS_PER_COMMAND, MetadataDocuments } from './metadata-documents.js';

const STATEMENTS_PER_COMMAND = 1000;
/** Well below what a command may hold, which is some 48 MB; a document alone may be larger. */
const BYTES_PER_COMMAND = 16 * 1024 * 1024;

/**
 * The documents of a metadata database, written with majority. Knows of no record's form.
 *
 * The problem: a process checks its lease and then sends a write. Between the two it may be stopped (SIGSTOP, a virtual
 * machine that moves), or a proxy may deliver the write minutes later. By then another process has the lease, and the
 * late write would put an old position over a newer one: events would be skipped after the next restart. A check in the
 * process that writes cannot prevent that; only the server can, at the moment when it carries out the write.
 *
 * The idea: every document carries the `term` of the lease under which it was written, and every update and delete has
 * the condition `term` not above its own. A late write of term 3 finds the document with term 4 and passes over it.
 *
 * Two consequences. An upsert that passes over the document tries to insert a second one with the same `_id` and is
 * refused with DuplicateKey (11000); an update without upsert changes nothing and says so by `n`. Both may have other
 * causes (two upserts at the same time; a document that does not exist), so the document is read once more: only a
 * higher term on it means that another process has taken over.
 *
 * Example: the holder of term 3 stores `{_id: 'checkpoint', position: 50, term: 3}` and is stopped in its next write,
 * position 60. Term 4 stores position 90. The process of term 3 wakes: its filter `{_id: 'checkpoint', term: {$not:
 * {$gt: 3}}}` matches nothing, its insert meets the `_id`, and it ends with LeaseLost.
 *
 * Invariant: the term on a document never falls. `drop` has no such condition (a server cannot fence it); it is a
 * structural command, and those are made void before the next holder begins (docs/02-lifecycle.md, "Writes that arrive
 * late"). Errors: LeaseLost; ClusterUnreachable; CommandRefused or WriteRefused when the server refuses a document.
 */
export class FencedDocuments extends MetadataDocuments {
  readonly #cluster: WritableCluster;

  constructor(cluster: WritableCluster, db: string) {
    super(cluster, db);
    this.#cluster = cluster;
  }

  get #term(): number | undefined {
    return this.#cluster.right.term;
  }

  /** Puts documents by their `_id`. */
  async put(coll: string, docs: readonly Doc[], signal: AbortSignal): Promise<void> {
    const updates = docs.map((doc) => ({ q: { _id: doc['_id'] }, u: withoutUndefined(doc), upsert: true }));
    for (const slice of inChunks(updates, STATEMENTS_PER_COMMAND, BYTES_PER_COMMAND, sizeOf))
      await this.#update(coll, slice, signal);
  }

  /** Sets fields of a document that is there; `undefined` removes one. */
  async setFields(coll: string, id: string, changes: Doc, signal: AbortSignal): Promise<void> {
    const removed = Object.entries(changes).filter(([, value]) => value === undefined);
    const set = withoutUndefined(changes);
    const u = {
      ...(Object.keys(set).length > 0 ? { $set: set } : {}),
      ...(removed.length > 0 ? { $unset: Object.fromEntries(removed.map(([name]) => [name, ''])) } : {}),
    };
    await this.#update(coll, [{ q: { _id: id }, u }], signal);
  }

  async deleteByIds(coll: string, ids: readonly string[], signal: AbortSignal): Promise<void> {
    const term = this.#term;
    const fence = term === undefined ? {} : { term: notAbove(term) };
    for (let from = 0; from < ids.length; from += IDS_PER_COMMAND) {
      const deletes = ids.slice(from, from + IDS_PER_COMMAND).map((id) => ({ q: { _id: id, ...fence }, limit: 1 }));
      await this.#write('writing metadata', { delete: coll, deletes, ordered: false }, signal);
    }
  }

  /** Removes a collection, if it is there. */
  async drop(coll: string, signal: AbortSignal): Promise<void> {
    // "Gone already" says nothing of a majority.
    await confirmed(this.#cluster, signal, () =>
      this.#write('removing metadata', { drop: coll }, signal, [Code.NamespaceNotFound]),
    );
  }

  async #update(coll: string, updates: readonly Doc[], signal: AbortSignal): Promise<void> {
    const term = this.#term;
    const fenced = term === undefined ? updates : updates.map((each) => withTerm(each, term));
    await this.#write('writing metadata', { update: coll, updates: fenced }, signal);
  }

  /** The error tells, by `isMaybeSent`, whether any of the tries may have taken effect, or may later. */
  async #write(what: string, command: Doc, signal: AbortSignal, accepted: readonly number[] = []): Promise<void> {
    let maybeSent = false;
    const tryOnce = async (): Promise<void> => {
      try {
        const reply = await this.#cluster.write(this.db, command, { record: true, signal });
        await this.#requireNotFenced(command, reply, signal);
        requireStored(reply);
      } catch (error) {
        maybeSent ||= isMaybeSent(error);
        const code = codeOf(error);
        if (code === undefined || !accepted.includes(code)) throw error;
      }
    };
    try {
      await this.#cluster.attempt(what, signal, tryOnce);
    } catch (error) {
      if (maybeSent) tagMaybeSent(error);
      throw error;
    }
  }

  /** Errors: LeaseLost when a document of a higher term stands where one was to be put. */
  async #requireNotFenced(command: Doc, reply: Doc, signal: AbortSignal): Promise<void> {
    const term = this.#term;
    const [first, ...others] = (command['updates'] as Doc[] | undefined) ?? [];
    if (term === undefined || first === undefined) return;
    const [error] = (reply['writeErrors'] as Doc[] | undefined) ?? [];
    const isMet = Number(error?.['code']) === Code.DuplicateKey;
    const isPassedOver = first['upsert'] !== true && Number(reply['n']) < 1 + others.length;
    if (!isMet && !isPassedOver) return;
    const { q } = (isMet ? ([first, ...others][Number(error?.['index'])] ?? first) : first) as { q: Doc };
    const find = { find: command['update'], filter: { _id: q['_id'], term: { $gt: term } }, limit: 1 };
    const found = await this.#cluster.command(this.db, find, { record: true, signal });
    if ((found['cursor'] as { firstBatch: Doc[] }).firstBatch.length > 0)
      throw new AppError('LeaseLost', 'another process has taken over this migration');
    if (isMet) throw new TransientError('two writes of this process to one document overlapped');
  }
}

/** Errors: as `statementError`, when the server has refused a statement: such a reply says `ok: 1`. */
export function requireStored(reply: Doc): void {
  const [error] = (reply['writeErrors'] as Doc[] | undefined) ?? [];
  if (error === undefined) return;
  const text = safeText(String(error['errmsg']));
  throw statementError('the destination refused to store metadata', { code: Number(error['code']), text });
}

/** An update statement that passes over a document of a higher term; as an upsert it then meets that one's `_id`. */
function withTerm({ q, u, ...rest }: Doc, term: number): Doc {
  const isOperators = Object.keys(u as Doc).every((name) => name.startsWith('$'));
  const { $set, ...others } = u as { $set?: Doc };
  const content = isOperators ? { ...others, $set: { ...$set, term } } : { ...(u as Doc), term };
  return { ...rest, q: { ...(q as Doc), term: notAbove(term) }, u: content };
}

/** Also matches documents without a term. */
function notAbove(term: number): Doc {
  return { $not: { $gt: term } };
}

function withoutUndefined(doc: Doc): Doc {
  return Object.fromEntries(Object.entries(doc).filter(([, value]) => value !== undefined));
}

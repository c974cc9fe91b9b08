/** Checks the order of capped collections while they are written to, and copies them again where it differs. */
import { Code, codeOf, isMoved } from '../cluster/errors.js';
import { sameRelativeOrder } from '../matching/capped-order.js';
import { isFollowed } from '../matching/compare-ids.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { PassContext, VerifyContext } from './context.js';
import { isOfCopyAgain } from './initial-hashing.js';

/** A document that is deleted and inserted again while both sides are read may be met in two places. */
const TRIES = 3;

/**
 * Compares the order of capped collections while they are written to, and copies those again whose order is another:
 * events that are replayed over a later copy may leave a document behind one that was inserted after it. What differs
 * even then is the commit's to judge. `interrupted`: those of which an earlier process may have copied a part only.
 */
export async function mendOrder(
  context: PassContext,
  interrupted: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  const { collections, copyAgain, logger } = context;
  if (copyAgain === undefined) return;
  for (const { id } of collections.live().filter((each) => each.capped && isFollowed(each, context))) {
    if (!interrupted.has(id) && (await isInOrder(context, id, signal))) continue;
    const collection = collections.get(id) as MigratedCollection;
    logger.info(`the order of ${collection.name} differs from the source; copying it again`);
    await copyAgain(collection, signal);
    if (!(await isInOrder(context, id, signal)))
      logger.warn(`the order of ${collection.name} still differs from the source after it was copied again`);
  }
}

/** The collections that were being copied again, or compared after that, when an earlier process ended. */
export async function interruptedCopies(
  { store }: Pick<VerifyContext, 'store'>,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const ranges = await store.loadRanges(signal);
  return new Set(ranges.filter((each) => !each.done && isOfCopyAgain(each)).map(({ collection }) => collection));
}

/** Also when it was dropped meanwhile. */
async function isInOrder(context: VerifyContext, id: string, signal: AbortSignal): Promise<boolean> {
  const { source, collections, applied } = context;
  for (let tries = 0; tries < TRIES; tries++) {
    if (source.now !== undefined) await applied(source.now, signal);
    const collection = collections.get(id);
    if (collection === undefined || collection.dropped) return true;
    try {
      if (await sameRelativeOrder(context, collection, signal)) return true;
    } catch (error) {
      // It was renamed or dropped, or evicts faster than it is read: the commit looks at it when it is at rest.
      if (!isMoved(error) && codeOf(error) !== Code.CappedPositionLost) throw error;
      if (tries === TRIES - 1) return true;
    }
  }
  return false;
}

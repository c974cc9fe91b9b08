/** Decides on events that come after the commit time: expected, or a reason to fail the commit. */

import { concernsFilter } from '../cutover/filtered-late-events.js';
import { judgeLateEvent } from '../cutover/late-events.js';
import { type ChangeEvent, namespaceOf } from '../documents/change-event.js';
import type { RunContext } from './run-context.js';

/** Returns for events that are expected. Errors of what it returns: SourceModifiedAfterCommit. */
export function lateEventJudge(
  context: Pick<RunContext, 'source' | 'destination' | 'collections' | 'record' | 'filter'>,
): (event: ChangeEvent, signal: AbortSignal) => Promise<void> {
  const { source, destination, collections, record, filter } = context;
  return async (event, signal) => {
    const { operation, collection, id, seconds } = event;
    const late = { operation, ns: namespaceOf(event), collection, id, seconds };
    const mayPass = filter !== undefined && record.value.readPastCommit !== true;
    if (mayPass && !(await concernsFilter({ source, destination, collections }, filter, late, signal))) return;
    await judgeLateEvent(destination, collections, late, signal);
  };
}

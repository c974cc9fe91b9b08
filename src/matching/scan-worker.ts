/** Compares ranges for the verifier in a thread of its own. */

import { Tally } from '../lib/tally.js';
import { callKind } from '../lib/thread-channel.js';
import type { ThreadParts } from '../threads/thread-clusters.js';
import { LocalRangeScanner, type RangeScan } from './range-scanner.js';

/** What is told of a scan under way. Ids are raw `{_id: …}`. */
export type RangeProgress =
  | { readonly read: readonly [source: number, destination: number] }
  | { readonly differing: readonly Uint8Array[] };

/** Compares one range. */
export const SCAN = callKind<RangeScan, RangeProgress, 'compared' | 'moved'>('scan');

/** Serves SCAN. */
export async function serveScans({ channel, source, destination }: ThreadParts): Promise<void> {
  const scanner = new LocalRangeScanner({ source, destination });
  channel.serve(SCAN, async (scan, { signal, tell }) => {
    const read = new Tally((ofSource, ofDestination) => tell({ read: [ofSource, ofDestination] }));
    const events = {
      onRead: (ofSource: number, ofDestination: number) => read.add(ofSource, ofDestination),
      // Copied: each would take the whole reply that it is a part of with it.
      onDiffering: (ids: readonly Buffer[]) => tell({ differing: ids.map((each) => Uint8Array.from(each)) }),
    };
    const outcome = await scanner.scan(scan, events, signal);
    await read.flush();
    return outcome;
  });
}

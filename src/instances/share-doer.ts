/** Applies the shares of the changes that an instance is given by the coordinator. */
import { ApplyWindow } from '../apply/apply-window.js';
import { EventTargets } from '../apply/event-targets.js';
import { LocalLaneApplier } from '../apply/lane-applier.js';
import { Lanes } from '../apply/lanes.js';
import { applyShare, type ShareEnd, type SharePlace, type ShareReply, type ShareTask } from '../apply/share.js';
import { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { changesToApply } from '../documents/change-sources.js';
import { DocumentFilter } from '../documents/document-filter.js';
import type { DocumentWriter } from '../documents/document-writer.js';
import { StreamPace } from '../documents/stream-pace.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { type CatalogStore, CollectionMap } from '../metadata/collections.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import { metrics } from '../metrics.js';
import type { Load } from '../start/load-level.js';
import { see, seenBy } from '../threads/seen-times.js';
import type { SeenWith } from './shared-range-copier.js';
import type { TaskDoer } from './workshop.js';

/** Between which clusters shares are applied, and where the collections are stored. */
export interface ShareRoles {
  readonly source: Cluster;
  readonly destination: Pick<WritableCluster, 'now' | 'resolveLostWrites' | 'saw'>;
  readonly store: CatalogStore;
}

/** What shares are applied with. */
export interface ShareDoerParts {
  /** With the instance's own lease. */
  readonly roles: ShareRoles;
  readonly load: Load;
  readonly options: MigrationOptions;
  readonly writerFor: (signal: AbortSignal) => Promise<DocumentWriter>;
  readonly logger: Logger;
}

/**
 * Applies shares. A share is over, or given back, only once no write of it whose answer was lost can take effect any
 * more: whoever applies it again must not be overtaken. `instanceSignal`: aborts when the instance ends, which makes sure
 * of its writes in its own way.
 */
export function shareDoer(parts: ShareDoerParts, instanceSignal: AbortSignal): TaskDoer {
  const { roles, load, options, logger } = parts;
  const { source, destination } = roles;
  const scope = new Scope(source, options);
  const { documentFilter } = options;
  const filter = documentFilter === null ? undefined : new DocumentFilter(documentFilter);
  const changes = changesToApply(source, logger, new StreamPace());
  const collections = new CollectionMap(roles.store);
  // Shares come before the commit: what is read again is read as it is now.
  const refetching = { filter, readTime: () => undefined, onStateGone: () => Promise.resolve() };
  let catalog: string | undefined;

  const applyTask = async (
    task: ShareTask,
    onPlace: (place: SharePlace) => void,
    signal: AbortSignal,
  ): Promise<ShareEnd> => {
    if (catalog !== task.catalog) await collections.load(signal);
    catalog = task.catalog;
    const writer = await parts.writerFor(signal);
    const applier = new LocalLaneApplier(source, writer, logger, refetching);
    const link = linkAbort(signal);
    const lanes = new Lanes(
      Array.from({ length: load.lanes }, () => applier),
      link.signal,
    );
    const window = new ApplyWindow<ShareReply>({ limitBytes: load.windowBytes });
    const targets = new EventTargets({ source, scope, collections });
    const onReply = (ms: number, bytes: number): void => {
      metrics.applyReadDuration.record(ms);
      metrics.eventBytesRead.add(bytes);
    };
    const context = { changes, scope, filter, targets, lanes, window, onPlace, onReply };
    const applying = applyShare(context, task, link.signal);
    try {
      return await Promise.race([applying, lanes.failed]);
    } finally {
      link.abort(new Error('the share is over'));
      await Promise.allSettled([applying, lanes.stopped()]);
      link.dispose();
    }
  };

  return async (given, { place }, signal) => {
    const { value, seen } = given as SeenWith<ShareTask>;
    see(roles, seen);
    try {
      const end = await applyTask(value, place, signal);
      return { value: end, seen: seenBy(roles) };
    } finally {
      await destination.resolveLostWrites(instanceSignal);
    }
  };
}

/** Starts replica sets that are far away from whoever finds them by their connection string. */
import { MongoClient } from 'mongodb';
import { ReplicaSet } from '../../test/support/replica-set.js';
import type { Distance } from './far-connection.js';
import { FarServer } from './far-server.js';

/** Enough for all that a bench writes. */
const OPLOG_MB = 8000;
const CACHE_GB = 1;

/** A set of one member. Its `uri` leads over the distance. */
export interface FarSet extends AsyncDisposable {
  readonly set: ReplicaSet;
  readonly server: FarServer;
  /** Without the distance. */
  readonly near: MongoClient;
}

/** Errors: as `ReplicaSet.start`; nothing is left then. */
export async function startFarSet(name: string, distance: Distance): Promise<FarSet> {
  let server: FarServer | undefined;
  const announce = async (target: string): Promise<string> => {
    server = await FarServer.start({ target, ...distance });
    return server.host;
  };
  try {
    const set = await ReplicaSet.start({ name, announce, oplogSizeMB: OPLOG_MB, cacheSizeGB: CACHE_GB });
    const near = new MongoClient(set.memberUri());
    return {
      set,
      server: server as FarServer,
      near,
      [Symbol.asyncDispose]: async () => {
        await near.close();
        await set.remove();
        await server?.[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await server?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** Two replica sets of a test file, of which all that is sent to the destination passes a proxy. */
import type { MongoClient } from 'mongodb';
import type { Test } from 'uvu';
import { type FaultProxy, startProxiedSet } from './fault-proxy.js';
import type { ReplicaSet } from './replica-set.js';
import { sharedSet } from './shared-servers.js';

/** The two sets, and clients of the test's own, whose commands no rule of the proxy befalls. */
export interface ProxiedPair {
  readonly proxy: FaultProxy;
  readonly pair: { readonly source: Pick<ReplicaSet, 'uri'>; readonly destination: ReplicaSet };
  readonly from: MongoClient;
  readonly to: MongoClient;
}

/** Starts them; they are gone once the file's tests have run. */
export async function proxiedPair(test: Test): Promise<ProxiedPair> {
  const source = await sharedSet(test);
  const proxied = await startProxiedSet();
  test.after(async () => {
    await proxied[Symbol.asyncDispose]();
  });
  const { proxy, set: destination } = proxied;
  const [from, to] = [await source.connect(), await proxied.connectPast()];
  return { proxy, pair: { source, destination }, from, to };
}

/** The sharded clusters of the tests: acceptance of the router double on the other servers, and with access control. */
import { test } from 'uvu';
import { ROUTER } from '../support/router-process.js';
import { adminTests } from '../support/router-suite-admin.js';
import { crudTests } from '../support/router-suite-crud.js';
import { reshardTests } from '../support/router-suite-reshard.js';
import { streamTests } from '../support/router-suite-streams.js';
import { valueTests } from '../support/router-suite-values.js';
import { sharedShardedCluster } from '../support/shared-servers.js';

// The default servers without access control are in the `*.mongo.test.ts` of the same name.

for (const { version, auth } of [
  { version: '6.0', auth: true },
  { version: '6.0.27', auth: false },
  { version: '6.0.27', auth: true },
] as const) {
  const shared = await sharedShardedCluster(test, { version, auth, routers: 2 });
  const bed = { ...shared, variant: `${shared.cluster.version} ${auth ? 'with' : 'without'} access control` };
  for (const tests of [crudTests, adminTests, valueTests, streamTests, reshardTests]) tests(test, bed);
}

process.stdout.write(`sharded clusters went through ${ROUTER}\n`);
test.run();

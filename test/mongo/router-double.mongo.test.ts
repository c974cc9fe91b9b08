/** The sharded clusters of the tests: acceptance of the router double, on the default servers without access control. */
import { test } from 'uvu';
import { adminTests } from '../support/router-suite-admin.js';
import { crudTests } from '../support/router-suite-crud.js';
import { streamTests } from '../support/router-suite-streams.js';
import { valueTests } from '../support/router-suite-values.js';
import { sharedShardedCluster } from '../support/shared-servers.js';

// Other versions, access control and resharding are in the `*.long.test.ts` of the same name.

const shared = await sharedShardedCluster(test, { routers: 2 });
const bed = { ...shared, variant: `${shared.cluster.version} without access control` };

crudTests(test, bed);
adminTests(test, bed);
valueTests(test, bed);
streamTests(test, bed);

test.run();

/** Random workloads with DDL end equal: more seeds than random-workload.mongo.test.ts has time for. */
import { test } from 'uvu';
import { testRandomWorkloads } from '../support/random-workload-tests.js';

testRandomWorkloads([1, 2, 3]);

test.run();

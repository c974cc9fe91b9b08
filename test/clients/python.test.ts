import { testClientExample } from '../support/client-suite.js';

testClientExample('python');

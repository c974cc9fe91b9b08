import { testClientExample } from '../support/client-suite.js';

await testClientExample('typescript');

/** Logs nothing, for tests that need a logger. */
import { createLogger } from '../../src/lib/logger.js';

/** Takes every line and writes none. */
export const silentLogger = createLogger({ level: 'FATAL', mongosyncId: 'test', sink: { write: () => undefined } });

/** Checks the credentials of every gRPC call, and lets the server's certificate be replaced while it runs. */
import {
  ResponderBuilder,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
} from '@grpc/grpc-js';
import { HealthService } from '../../../gen/grpc/health/v1/health.js';
import { AppError } from '../../errors.js';
import type { Logger } from '../../lib/logger.js';
import { RefusalLog } from '../auth.js';
import type { DoorCredentials } from '../credentials.js';
import { HANDSHAKE_TIMEOUT_MS } from '../limits.js';
import { toGrpcStatus } from './status.js';

/** What probes ask, which cannot bring credentials; the answer is one word. */
const OPEN_METHODS: ReadonlySet<string> = new Set([HealthService.check.path]);

/**
 * Lets no call of any service through without what the credentials ask for, but the check of health: reflection and
 * what is added later are behind it without a line of their own.
 */
export function accessInterceptor(credentials: DoorCredentials, logger: Logger): ServerInterceptor {
  const refusals = new RefusalLog(logger, 'grpc');
  return (method, call) => {
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        try {
          if (!OPEN_METHODS.has(method.path)) {
            credentials.admit({
              authorization: metadata.get('authorization')[0]?.toString(),
              // grpc-js gives it only for a connection whose certificate OpenSSL has verified.
              hasCertificate: call.getAuthContext().sslPeerCertificate !== undefined,
            });
          }
        } catch (reason) {
          refusals.note(call.getPeer());
          call.sendStatus(toGrpcStatus(AppError.from(reason)));
          return;
        }
        next(metadata);
      })
      .build();
    return new ServerInterceptingCall(call, new ResponderBuilder().withStart((next) => next(listener)).build());
  };
}

/** Credentials for `Server.bindAsync` whose certificate follows every reload; and the way to stop following. */
export function bindCredentials(door: DoorCredentials): {
  readonly credentials: ServerCredentials;
  readonly dispose: () => void;
} {
  const context = door.secureContext;
  if (context === undefined) return { credentials: ServerCredentials.createInsecure(), dispose: () => undefined };
  const credentials = new ReplaceableCredentials(door);
  return { credentials, dispose: door.onReload(() => credentials.follow(door)) };
}

/**
 * Connections without a valid certificate are let in as far as the interceptor, whose refusal tells the caller more
 * than a broken handshake would, and so that probes can ask for health.
 */
class ReplaceableCredentials extends ServerCredentials {
  constructor(door: DoorCredentials) {
    const requestCert = door.requiresClientCertificate;
    super({ requestCert, rejectUnauthorized: false, handshakeTimeout: HANDSHAKE_TIMEOUT_MS }, door.secureContext);
  }

  follow(door: DoorCredentials): void {
    this.updateSecureContextOptions(door.secureContext ?? null);
  }

  _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

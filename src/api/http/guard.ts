/** Refuses HTTP requests that a web page in somebody's browser could have sent. */
import type { IncomingMessage } from 'node:http';
import { AppError, invalidRequest } from '../../errors.js';
import { isLoopbackAddress, isSameAddress } from '../../lib/addresses.js';

/**
 * Refuses what a page in somebody's browser could send. `curl --data` needs no preflight and neither does a form, so
 * the content type protects nobody: what counts is where the request comes from.
 *
 * - `Host` must be loopback, one of `allowedHosts`, or the very IP address that the connection arrived at (a name that
 *   an attacker points at us, DNS rebinding, is none of these). No `Host` (HTTP/1.0) is no browser. With `anyHost` it
 *   may be any: every request must bring a secret, then, that a browser does not send by itself.
 * - `Origin`, if any, must be the page that this server itself served, or one of `allowedHosts`.
 *
 * - `Sec-Fetch-Site`, which browsers add by themselves, must not say that another site's page asks, but one of
 *   `allowedHosts`.
 *
 * Errors: ForbiddenOrigin; InvalidRequest for no `Host`, or more than one: which of them is meant, nobody can tell.
 */
export function refuseForeign(request: IncomingMessage, allowedHosts: readonly string[], anyHost = false): void {
  const hosts = request.headersDistinct['host'] ?? [];
  if (hosts.length > 1) throw invalidRequest([{ field: 'host', description: 'is given more than once' }]);
  if (hosts.length === 0 && request.httpVersion !== '1.0')
    throw invalidRequest([{ field: 'host', description: 'is required' }]);
  const host = request.headers.host?.toLowerCase();
  if (!anyHost && host !== undefined && !isOwnHost(nameOf(host), host, request.socket.localAddress, allowedHosts)) {
    throw new AppError('ForbiddenOrigin', 'the Host header names neither a loopback address nor a configured host');
  }
  const origin = request.headers.origin?.toLowerCase();
  if (origin !== undefined && !isOwnOrigin(origin, host, allowedHosts)) {
    throw new AppError('ForbiddenOrigin', 'the request comes from a page of another origin');
  }
  const site = request.headers['sec-fetch-site'];
  if (origin === undefined && (site === 'cross-site' || site === 'same-site')) {
    throw new AppError('ForbiddenOrigin', 'the request comes from a page of another site');
  }
}

function isOwnHost(
  name: string,
  host: string,
  localAddress: string | undefined,
  allowedHosts: readonly string[],
): boolean {
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  if (isLoopbackAddress(name)) return true;
  if (isSameAddress(name, localAddress)) return true;
  return isAllowed(name, host, allowedHosts);
}

function isOwnOrigin(origin: string, host: string | undefined, allowedHosts: readonly string[]): boolean {
  const authority = /^https?:\/\/([^/]+)$/.exec(origin)?.[1];
  if (authority === undefined) return false;
  return authority === host || isAllowed(nameOf(authority), authority, allowedHosts);
}

/** A configured host may be written with its port, and then only that port is meant. */
function isAllowed(name: string, host: string, allowedHosts: readonly string[]): boolean {
  return allowedHosts.some((allowed) => allowed.toLowerCase() === name || allowed.toLowerCase() === host);
}

/** A Host header's name without its port, brackets and final dot. */
function nameOf(host: string): string {
  const bracketed = /^\[([^\]]*)\](:\d*)?$/.exec(host)?.[1];
  return bracketed ?? host.replace(/:\d*$/, '').replace(/\.$/, '');
}

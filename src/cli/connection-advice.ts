/** Tells an operator what to do about a connection that failed, or that a server refused. */
import type { ClientCredentials } from './client-credentials.js';

/** What OpenSSL and Node say of a handshake that failed, and what that means to an operator. */
const TLS_FAULTS: readonly (readonly [said: RegExp, advice: string])[] = [
  [
    /certificate has expired/i,
    "the server's certificate has expired: replace its tlsCertificateKeyFile and send it SIGHUP",
  ],
  [/certificate is not yet valid/i, "the server's certificate is not valid yet: compare the clocks"],
  [
    /does not match certificate's altnames/i,
    "the server's certificate is not for the name in --target: use a name that is in it",
  ],
  [
    /unable to verify|self.signed certificate|unable to get (local )?issuer|certificate signature failure|invalid CA/i,
    "the server's certificate is not signed by a trusted authority: give --tlsCAFile, the file of the server's authority",
  ],
  [/wrong version number|packet length too long|record layer/i, 'the server does not speak TLS there: leave --tls out'],
];

/** What to do about a connection that failed; undefined when that cannot be told from what was said. */
export function connectionAdvice(said: string, { tls }: ClientCredentials): string | undefined {
  const known = TLS_FAULTS.find(([pattern]) => pattern.test(said))?.[1];
  if (known !== undefined) return known;
  // A server that is not there says other things.
  const wasCut = /Failed to connect|ECONNRESET|socket hang up|Protocol error|GOAWAY/i.test(said);
  return tls === undefined && wasCut ? 'if the server has TLS, add --tls or --tlsCAFile' : undefined;
}

/** What to do about a server that does not let the command in, and says what it needs. */
export function accessAdvice(needs: string, { tls, token }: ClientCredentials): string {
  const missing = [
    ...(token === undefined && needs.includes('token') ? ['--authTokenFile'] : []),
    ...(tls?.certificateKey === undefined && needs.includes('certificate') ? ['--tlsCertificateKeyFile'] : []),
  ];
  if (missing.length > 0) return `add ${missing.join(' and ')}`;
  return 'what was given is wrong, or no longer valid';
}

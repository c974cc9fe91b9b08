/** Logs clients in: their own conversation is relayed to the config servers, which know the users. */
import { createHash } from 'node:crypto';
import { Binary } from 'mongodb';
import { type Identity, NOBODY } from './backend.js';
import { type Privilege, privilegesOf } from './privileges.js';
import {
  type Doc,
  doc,
  documentsOf,
  type Fields,
  fieldOf,
  fieldsOf,
  isTrue,
  type Part,
  type RawValue,
  textOf,
} from './raw-values.js';
import { okay, type Request } from './request.js';
import { ShardConnection } from './shard-connection.js';

/** The handler of saslStart and saslContinue. */
export async function relayLogin(request: Request): Promise<Doc> {
  return doc(await relay(request, request.command.db, request.command.body()));
}

/** What a driver began of its log-in within `hello`; undefined where that failed, or it began none. */
export async function relaySpeculation(request: Request): Promise<Doc | undefined> {
  const attempt = request.command.document('speculativeAuthenticate');
  if (attempt === undefined || !request.backend.authenticated) return undefined;
  const fields = fieldsOf(attempt);
  const db = textOf(fields.get('db')) ?? 'admin';
  fields.delete('db');
  const answer = await relay(request, db, fields);
  if (!isTrue(answer.get('ok'))) return undefined;
  const names = ['conversationId', 'done', 'payload'];
  return doc(Object.fromEntries(names.map((name) => [name, answer.get(name)])));
}

async function relay(request: Request, db: string, body: Part): Promise<Fields> {
  const answer = await onLoginConnection(request, doc(body, { $db: db }));
  if (isTrue(answer.get('ok')) && isTrue(answer.get('done'))) await takeIdentity(request);
  return answer;
}

/** The connection on which this client's user is logged in: opened at its first use. */
async function onLoginConnection({ client, backend }: Request, body: Doc): Promise<Map<string, RawValue>> {
  client.login ??= await ShardConnection.open(backend.configHost, { kind: 'client' });
  const answer = await client.login.call(body);
  backend.clock.learn(answer);
  return answer;
}

/** Asks the config servers who has logged in, and what that user may do. */
async function takeIdentity(request: Request): Promise<void> {
  const { client } = request;
  const answer = await onLoginConnection(request, doc({ connectionStatus: 1, showPrivileges: true, $db: 'admin' }));
  const info = fieldsOf(answer.get('authInfo')?.bytes ?? Buffer.alloc(5));
  const users = documentsOf(info.get('authenticatedUsers'));
  const privileges = documentsOf(info.get('authenticatedUserPrivileges')).map(privilegesOf);
  client.loggedIn = users.length > 0;
  client.privileges = privileges;
  client.identity = {
    users,
    roles: documentsOf(info.get('authenticatedUserRoles')),
    mayBypassWriteBlocking: privileges.some(passesWriteBlock),
    uid: uidOf(users[0]),
  } satisfies Identity;
}

function passesWriteBlock({ resource, actions }: Privilege): boolean {
  const everywhere = resource.kind === 'cluster' || resource.kind === 'any';
  return everywhere && (actions.has('bypassWriteBlockingMode') || actions.has('anyAction'));
}

/** The digest by which servers tell users' sessions apart. */
function uidOf(user: Buffer | undefined): Binary | undefined {
  if (user === undefined) return undefined;
  const name = `${textOf(fieldOf(user, 'user'))}@${textOf(fieldOf(user, 'db'))}`;
  return new Binary(createHash('sha256').update(name).digest());
}

/** The handler of logout. */
export async function logout({ client }: Request): Promise<Doc> {
  client.login?.close();
  client.login = undefined;
  client.loggedIn = false;
  client.privileges = [];
  client.identity = NOBODY;
  return okay({});
}

/** The handler of connectionStatus. */
export async function connectionStatus(request: Request): Promise<Doc> {
  const { command, client } = request;
  if (client.login !== undefined) return doc(await onLoginConnection(request, doc(command.body(), { $db: 'admin' })));
  const authenticatedUserPrivileges = command.flag('showPrivileges') ? [] : undefined;
  const nobody = { authenticatedUsers: [], authenticatedUserRoles: [], authenticatedUserPrivileges };
  return okay({ authInfo: nobody });
}

/** Lists the users whom a write block does not stop. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from './cluster.js';
import { Code, codeOf } from './errors.js';

const BYPASS = 'bypassWriteBlockingMode';

interface RoleName {
  readonly role: string;
  readonly db: string;
}

interface Role extends RoleName {
  readonly inheritedPrivileges: readonly {
    readonly resource: { readonly cluster?: boolean; readonly anyResource?: boolean };
    readonly actions: readonly string[];
  }[];
}

/**
 * The users, as "name@database", whom a write block does not stop: all but the one of this connection. Empty where
 * access control is off, or where users and roles may not be read (viewUser, viewRole).
 * Source: MongoDB manual, usersInfo, rolesInfo.
 */
export async function bypassingUsers(cluster: Cluster, signal: AbortSignal): Promise<string[]> {
  try {
    const status = await cluster.read('reading who this is', 'admin', { connectionStatus: 1 }, signal);
    const { authenticatedUsers } = status['authInfo'] as { authenticatedUsers: { user: string; db: string }[] };
    if (authenticatedUsers.length === 0) return [];
    const us = new Set(authenticatedUsers.map(({ user, db }) => `${user}@${db}`));
    const reply = await cluster.read('reading users', 'admin', { usersInfo: { forAllDBs: true } }, signal);
    const users = reply['users'] as { user: string; db: string; roles: RoleName[] }[];
    const bypassing = await bypassingRoles(
      cluster,
      users.flatMap((user) => user.roles),
      signal,
    );
    return users
      .filter(({ roles }) => roles.some((role) => bypassing.has(roleText(role))))
      .map(({ user, db }) => `${user}@${db}`)
      .filter((name) => !us.has(name));
  } catch (error) {
    if (codeOf(error) === Code.Unauthorized) return [];
    throw error;
  }
}

async function bypassingRoles(cluster: Cluster, roles: readonly RoleName[], signal: AbortSignal): Promise<Set<string>> {
  const names = new Map(roles.map((role) => [roleText(role), { role: role.role, db: role.db }]));
  if (names.size === 0) return new Set();
  const command: Doc = { rolesInfo: [...names.values()], showPrivileges: true };
  const reply = await cluster.read('reading roles', 'admin', command, signal);
  return new Set(
    (reply['roles'] as Role[])
      .filter(({ inheritedPrivileges }) =>
        inheritedPrivileges.some(
          ({ resource, actions }) =>
            (resource.cluster === true || resource.anyResource === true) && actions.includes(BYPASS),
        ),
      )
      .map(roleText),
  );
}

function roleText({ role, db }: RoleName): string {
  return `${role}@${db}`;
}

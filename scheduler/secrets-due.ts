import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import { vaultOf } from './hosting/vault-edits.ts';
import { rankedVoters } from './raft/quorum.ts';

const can = (ledger: Ledger, node: NodeId): boolean =>
  (Object.hasOwn(ledger.nodes, node) && ledger.nodes[node]!.can?.includes('envelopes')) || false;

/** A voter of an older version may lead at any moment, and must be able to open GitLab's token then. */
export const votersCanOpen = (ledger: Ledger): boolean =>
  rankedVoters(ledger.configuration)
    .filter((node) => Object.hasOwn(ledger.nodes, node))
    .every((node) => can(ledger, node));

/** What a removed machine knew and nobody has changed since. */
interface SecretsDue {
  /** A new mesh key, sealed for each member. */
  key: boolean;
  /** GitLab's admin token. */
  token: boolean;
  /** Classes whose runner token it knew. */
  classes: string[];
  /** Machines of an older version: they could not follow a new key. */
  blockedBy: NodeId[];
}

export function secretsDue(ledger: Ledger): SecretsDue {
  const { secrets, gitlab, classes, nodes } = ledger;
  const wanted = secrets?.wanted ?? 0;
  const isDue = (epoch: number | undefined): boolean => (epoch ?? 0) < wanted;
  return {
    key: isDue(secrets?.keys.at(-1)?.epoch),
    token: gitlab.token !== null && isDue(secrets?.admin),
    classes: Object.keys(classes).filter((key) => classes[key]!.token !== null && isDue(classes[key]!.epoch)),
    blockedBy: Object.keys(nodes).filter((node) => !can(ledger, node)),
  };
}

/** Names of those who are told at an address, which somebody else could use: a log has none. */
export const addressesOf = (notices: Ledger['notices']): string[] =>
  Object.entries(notices?.targets ?? {}).flatMap(([name, { kind }]) => (kind === 'log' ? [] : [name]));

/** What a removed machine knew if it voted, and only a person can change: what was named anew since is not among it. */
interface SecretsOfPeople {
  /** Names of those who are told of what is wrong: it knew their addresses. */
  notices: string[];
  /** Where the backups go, of which it has the key. */
  backups: string | null;
  /** The key of GitLab's certificate. */
  certificate: boolean;
}

export function knownToRemoved(ledger: Ledger): SecretsOfPeople {
  const { notices, gitlab, forgotten } = ledger;
  // Let in again it is no stranger, and not among these.
  const removedAt = Math.max(Number.NEGATIVE_INFINITY, ...Object.values(forgotten));
  const isOlder = (since: number): boolean => since <= removedAt;
  const vault = vaultOf(ledger);
  const { https, since = 0 } = gitlab.hosted ?? {};
  return {
    notices: addressesOf(notices).filter((name) => isOlder(notices!.targets[name]!.since)),
    backups: vault !== null && isOlder(vault.since) ? vault.target : null,
    certificate: https !== undefined && isOlder(https.since ?? since),
  };
}

/** Members that the newest key was not sealed for: they came after it. */
export function withoutKey({ secrets, nodes }: Ledger): NodeId[] {
  const newest = secrets?.keys.at(-1);
  return newest ? Object.keys(nodes).filter((node) => !Object.hasOwn(newest.sealed, node)) : [];
}

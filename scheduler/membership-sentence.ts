import type { Change } from '../protocol/changes.ts';
import type { Ledger } from '../protocol/ledger.ts';
import { isNamedIn } from './hosting/copies-set.ts';
import { vaultOf } from './hosting/vault-edits.ts';
import { find } from './membership-names.ts';
import { quietWords } from './notices/quiet-hours.ts';
import { cut, listed, span } from './phrases.ts';
import { rankedVoters } from './raft/quorum.ts';
import { addressesOf } from './secrets-due.ts';

/** What a change did, for the person who asked. The same ledger twice = it was so before. */
export function doneSentence(change: Change, before: Ledger, after: Ledger): string {
  const already = before === after ? ' already' : '';
  const name = (node: string): string =>
    after.nodes[node]?.name ?? before.nodes[find(before.nodes, node) ?? '']?.name ?? node;
  switch (change.kind) {
    case 'open-approval':
      return `${change.approval.name} waits for approval`;
    case 'close-approval':
      return 'it waits no more';
    case 'approve':
    case 'approve-invited':
    case 'approve-paired': {
      const added = Object.keys(after.nodes).find((node) => !Object.hasOwn(before.nodes, node));
      return added ? `${after.nodes[added]!.name} is in the mesh` : `${name(change.node ?? '')} is in the mesh already`;
    }
    case 'ignore':
      return `${change.node} is ignored${already}: its agent is told so and ends, and nobody is asked about it when it comes again`;
    case 'forget':
      return `${name(change.node)} is forgotten${already}: it is a stranger now${known(before, after)}${held(before, change.node)}${keeps(before, change.node)}${mayOpen(before, change.node)}${mayServe(before, change.node)}${mayTell(before, change.node)}`;
    case 'make-invite':
      return 'the invite is open';
    case 'pair':
      return change.until === 0 ? 'the pairing window is closed' : 'the pairing window is open';
    case 'introduce':
      return `${name(change.node)} is known as it is${already}`;
    case 'depart':
      return `${name(change.node)} has left${already}`;
    case 'drain':
      return `${name(change.node)} ${change.drained ? 'takes no new work and does not vote' : 'takes work again'}${already}${change.drained ? hostsStill(after, change.node) : ''}`;
    case 'set':
      return `${change.key} is ${settingText(change)}${already}`;
    case 'reseal':
      return `the secrets are sealed anew${already}`;
    case 'disconnect-gitlab':
      return before.gitlab.mode === 'none'
        ? 'no GitLab is connected'
        : `GitLab at ${before.gitlab.url} is being disconnected${already}`;
    case 'connect-gitlab':
      return `GitLab at ${change.url} is connected${already}`;
    default:
      return hostedSentence(change, before, { name, already });
  }
}

type OfMembers =
  | 'open-approval'
  | 'close-approval'
  | 'approve'
  | 'approve-invited'
  | 'approve-paired'
  | 'ignore'
  | 'forget'
  | 'make-invite'
  | 'pair'
  | 'introduce'
  | 'depart'
  | 'drain'
  | 'set'
  | 'reseal'
  | 'disconnect-gitlab'
  | 'connect-gitlab';

interface Words {
  name(node: string): string;
  /** Stands behind what was so before. */
  already: string;
}

/** Of the GitLab that the mesh runs itself, its copies and its backups. */
function hostedSentence(
  change: Exclude<Change, { kind: OfMembers }>,
  before: Ledger,
  { name, already }: Words,
): string {
  switch (change.kind) {
    case 'agree-copies':
      return `${name(change.node)} ${change.agreed ? 'may hold copies of GitLab' : 'gets no copies of GitLab'}${already}`;
    case 'copies-begin':
      return "GitLab's host may take rounds and acknowledge pushes";
    case 'copy-enters':
      return `${name(change.node)} is in sync${already}: pushes wait for it`;
    case 'copies-leave':
      return `no push waits for ${listed(change.nodes.map(name))}${already}: ${change.because}`;
    case 'set-vault':
      return change.vault === null
        ? 'backups of GitLab are made no more; those that are there stay'
        : `backups of GitLab go to ${change.vault.target}`;
    case 'protect-gitlab':
      return protectedSentence(change.protected, name, already);
    case 'upgrade-gitlab':
      return `GitLab is to become ${change.image}${already}`;
    case 'gitlab-restored':
    case 'gitlab-upgraded':
    case 'gitlab-upgrade-ended':
      return `${change.because}${already}`;
    case 'move-gitlab':
    case 'gitlab-moved':
    case 'gitlab-move-stands':
    case 'gitlab-move-ends':
      return `${moveSentence(change, name)}${already}`;
    case 'notice-target':
    case 'quiet-hours':
    case 'notices-told':
      return `${noticesSentence(change)}${already}`;
    case 'start-gitlab-at':
    case 'clear-gitlab-flag':
      return `${failoverSentence(change, name)}${already}`;
    case 'deploy-gitlab':
      return `GitLab is to run on ${name(change.host)}${already}`;
    case 'gitlab-stands':
      return `GitLab at ${change.url} stands${already}`;
    case 'uninstall-gitlab':
      return before.gitlab.mode === 'none' ? 'the mesh hosts no GitLab' : `GitLab is being uninstalled${already}`;
    case 'gitlab-certificate':
      return `GitLab's address has that certificate${already}`;
    case 'gitlab-ended':
      return `GitLab is gone${already}`;
  }
}

const protectedSentence = (
  one: (Change & { kind: 'protect-gitlab' })['protected'],
  name: (node: string) => string,
  already: string,
): string =>
  one === null
    ? 'the mesh backs up no GitLab that runs without it; backups that are there stay'
    : `GitLab in container ${one.container} on ${name(one.node)} is protected${already}`;

/** GitLab is not moved by it: a person may want that too, and types it elsewhere, as a machine that is drained votes no more. */
function hostsStill({ nodes, gitlab }: Ledger, asked: string): string {
  const host = find(nodes, asked);
  const copies = gitlab.hosted?.copies;
  if (host === null || gitlab.mode !== 'hosted' || gitlab.host !== host || gitlab.hosted?.ending) return '';
  const to = copies?.set.members[0];
  const name = to === undefined ? null : (nodes[to]?.name ?? to);
  const how =
    name === null
      ? 'on a machine that votes: autogit-node gitlab copies add NAME, and once that is in sync: autogit-node gitlab move NAME'
      : `on ${name}: autogit-node gitlab move ${name}`;
  return `; GitLab goes on there: to run it elsewhere, ${how}`;
}

/** What changes by itself then, one of which the person will notice. */
const known = (before: Ledger, after: Ledger): string =>
  before !== after && after.gitlab.token !== null
    ? "; what it knew is changed: the mesh's key, runner tokens, and GitLab's token, so that the one you connected with ends"
    : '';

/** What a machine that may have held copies of GitLab knows, and only a person can change. */
export const whatCopiesTell =
  "all of GitLab as of its last copy: change root's and the admins' passwords, access tokens, runner tokens, CI variables and deploy keys";

function held({ nodes, gitlab }: Ledger, wanted: string): string {
  const node = find(nodes, wanted);
  const copies = gitlab.hosted?.copies;
  return node !== null && copies && isNamedIn(copies, node) ? `; it may hold ${whatCopiesTell}` : '';
}

/** What lies on its disk stays there, and nothing comes to it any more. */
const keeps = ({ gitlab, nodes }: Ledger, asked: string): string =>
  gitlab.vault?.keeper !== undefined && find(nodes, asked) === gitlab.vault.keeper
    ? '; it keeps the backups of GitLab: those stay on its disk, and none is made until you name another place (autogit-node gitlab backup --to TARGET)'
    : '';

/** Nobody can take back what opens files that lie somewhere: backups of a new key need a new place. */
function mayOpen(ledger: Ledger, asked: string): string {
  const vault = vaultOf(ledger);
  if (vault === null || find(ledger.nodes, asked) === null) return '';
  const { target } = vault;
  return `; where it voted it knows the key of the backups in ${target}: if it can reach them, name a new place (autogit-node gitlab backup --to TARGET) and delete those`;
}

/** Whoever has it can be taken for GitLab by those who believe its CA. */
function mayServe({ gitlab, nodes, configuration }: Ledger, asked: string): string {
  const node = find(nodes, asked);
  const https = gitlab.hosted?.https;
  if (node === null || https === undefined) return '';
  const isTold = gitlab.host === node || rankedVoters(configuration).includes(node);
  return isTold
    ? "; it knows the key of GitLab's certificate: have that revoked and bring another one (autogit-node gitlab certificate)"
    : '';
}

/** Whoever has a topic or a mailbox's password can tell them anything, as this mesh. */
function mayTell({ notices, nodes }: Ledger, asked: string): string {
  const told = addressesOf(notices);
  if (find(nodes, asked) === null || told.length === 0) return '';
  return `; where it voted it knows the addresses of who is told of this mesh (${cut(listed(told), 120)}): change them where they are from, then name each anew (autogit-node notify add)`;
}

/** As a person would type it, or read it in `settings`. */
function settingText({ key, value }: Change & { kind: 'set' }): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return typeof value === 'number' && key.endsWith('Ms') ? span(value) : String(value);
}

function noticesSentence(change: Change & { kind: 'notice-target' | 'quiet-hours' | 'notices-told' }): string {
  if (change.kind === 'notices-told') return 'what was told is remembered';
  if (change.kind === 'quiet-hours')
    return change.quiet === null ? 'there are no quiet hours' : `it is quiet ${quietWords(change.quiet)}`;
  const { name, target } = change;
  return target === null
    ? `${name} is told nothing`
    : `${name} is told when something is wrong (${target.kind}, ${target.shown})`;
}

function moveSentence(
  change: Change & { kind: 'move-gitlab' | 'gitlab-moved' | 'gitlab-move-stands' | 'gitlab-move-ends' },
  name: (node: string) => string,
): string {
  if (change.kind === 'gitlab-move-ends') return change.because;
  if (change.kind === 'move-gitlab') return `GitLab is to move to ${name(change.to)}`;
  return change.kind === 'gitlab-moved'
    ? "GitLab's data are on the machine to which it moves"
    : 'GitLab works where it moved to';
}

function failoverSentence(
  change: Change & { kind: 'start-gitlab-at' | 'clear-gitlab-flag' },
  name: (node: string) => string,
): string {
  if (change.kind === 'clear-gitlab-flag') return 'GitLab may move by itself again';
  return change.to === null
    ? 'GitLab waits for its host'
    : `GitLab is to go on at ${name(change.to)} once its host is surely shut`;
}

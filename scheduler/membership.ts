import type { Change } from '../protocol/changes.ts';
import type { NodeId } from '../protocol/ids.ts';
import { classKey } from '../protocol/ids.ts';
import { type Ledger, type LedgerNode, silentMs } from '../protocol/ledger.ts';
import { limits } from '../protocol/limits.ts';
import { disconnect } from './disconnecting.ts';
import { agreeCopies, changeSet } from './hosting/copies-edits.ts';
import { gitlabWithoutCopyOn } from './hosting/copies-set.ts';
import { changeFailover } from './hosting/failover-edits.ts';
import { deploy, ended, hostingOf, newCertificate, stands, uninstall } from './hosting/hosted-edits.ts';
import { changeMove, wayBackOf } from './hosting/move-edits.ts';
import { gitlabWithoutProtectedOn, protect } from './hosting/protect-edits.ts';
import { gitlabWithoutSidesOf } from './hosting/sides.ts';
import { changeUpgrade } from './hosting/upgrade-edits.ts';
import { restored, setVault } from './hosting/vault-edits.ts';
import type { Refusal } from './ledger-edit.ts';
import { approve, approveInvited, approvePaired, closeApproval, ignore, openApproval } from './membership-approval.ts';
import { find, freeName, mapNode, noNode, without } from './membership-names.ts';
import { reseal, tokenIsNew, wantNewSecrets } from './membership-secrets.ts';
import { changeNotices } from './notices/notice-edits.ts';
import { span } from './phrases.ts';

/**
 * What a change makes of the ledger. Pure; the same object when there is nothing to change. Refusals are sentences for
 * the person who asked, with what to type instead. `wallMs`: the leader's wall clock.
 */
export function applyChange(ledger: Ledger, change: Change, wallMs: number): Ledger | Refusal {
  switch (change.kind) {
    case 'open-approval':
      return openApproval(ledger, change.node, change.approval, wallMs);
    case 'close-approval':
      return closeApproval(ledger, change.node);
    case 'approve':
      return approve(ledger, change, wallMs);
    case 'approve-invited':
      return approveInvited(ledger, change, wallMs);
    case 'approve-paired':
      return approvePaired(ledger, change, wallMs);
    case 'ignore':
      return ignore(ledger, change.node);
    case 'forget':
      return forget(ledger, change, wallMs);
    case 'make-invite':
      return makeInvite(ledger, change, wallMs);
    case 'pair':
      return pair(ledger, change.until);
    case 'introduce':
      return introduce(ledger, change);
    case 'depart':
      return mapNode(ledger, change.node, (node) => departed(node, change.backMs));
    case 'drain':
      return drain(ledger, change.node, change.drained);
    case 'set':
      return set(ledger, change.key, change.value);
    case 'connect-gitlab':
      return connectGitlab(ledger, change, wallMs);
    case 'disconnect-gitlab':
      return disconnect(ledger, change, wallMs);
    case 'deploy-gitlab':
      return deploy(ledger, change, wallMs);
    case 'gitlab-stands':
      return stands(ledger, change);
    case 'uninstall-gitlab':
      return uninstall(ledger, change, wallMs);
    case 'gitlab-certificate':
      return newCertificate(ledger, change, wallMs);
    case 'gitlab-ended':
      return ended(ledger, change, wallMs);
    case 'agree-copies':
      return agreeCopies(ledger, change);
    case 'copies-begin':
    case 'copy-enters':
    case 'copies-leave':
      return changeSet(ledger, change);
    case 'set-vault':
      return setVault(ledger, change, wallMs);
    case 'protect-gitlab':
      return protect(ledger, change, wallMs);
    case 'gitlab-restored':
      return restored(ledger, change, wallMs);
    case 'upgrade-gitlab':
    case 'gitlab-upgraded':
    case 'gitlab-upgrade-ended':
      return changeUpgrade(ledger, change, wallMs);
    case 'move-gitlab':
    case 'gitlab-moved':
    case 'gitlab-move-stands':
    case 'gitlab-move-ends':
      return changeMove(ledger, change, wallMs);
    case 'start-gitlab-at':
    case 'clear-gitlab-flag':
      return changeFailover(ledger, change, wallMs);
    default:
      return change.kind === 'reseal' ? reseal(ledger, change) : changeNotices(ledger, change, wallMs);
  }
}

/** A job may send from this LAN: while one runs, nobody is let in without a question (security A17). */
function pair(ledger: Ledger, until: number): Ledger | Refusal {
  const running = Object.values(ledger.runs).find(({ state }) => state === 'taken' || state === 'running');
  if (until > 0 && running)
    return {
      refused: `job ${running.job} runs, and could let machines of its own in: wait for it, or use autogit-node invite`,
    };
  return until === ledger.pairUntil ? ledger : { ...ledger, pairUntil: until };
}

function forget(ledger: Ledger, { node: wanted, by }: Change & { kind: 'forget' }, wallMs: number): Ledger | Refusal {
  const node = find(ledger.nodes, wanted);
  if (node === null && Object.hasOwn(ledger.forgotten, wanted)) return ledger;
  if (node === null) return { refused: noNode(ledger, wanted) };
  if (Object.keys(ledger.nodes).length === 1)
    return {
      refused: `${ledger.nodes[node]!.name} is the only node: without it there is no mesh; to end it, stop its agent`,
    };
  const hosting = hostingOf(ledger);
  if (hosting?.host === node && !hosting.ending)
    return {
      refused: `${ledger.nodes[node]!.name} hosts the mesh's GitLab: autogit-node gitlab uninstall first (also where that machine is gone for good)`,
    };
  if (wayBackOf(ledger) === node)
    return {
      refused: `GitLab has just moved away from ${ledger.nodes[node]!.name}, and goes back there if it does not come up: wait until it stands: autogit-node gitlab`,
    };
  return {
    ...ledger,
    // It could read the codes of all of them.
    invites: {},
    // It may knock under a new identity: whoever is sent away does not come back unasked.
    pairUntil: 0,
    nodes: without(ledger.nodes, node),
    approvals: without(closeApprovalsVia(ledger, node), node),
    gitlab: gitlabWithoutSidesOf(gitlabWithoutProtectedOn(gitlabWithoutCopyOn(ledger, node), node), node),
    ...farewells(ledger, node, by, wallMs),
    secrets: wantNewSecrets(ledger, node, wallMs),
  };
}

function farewells(
  ledger: Ledger,
  node: NodeId,
  by: string | undefined,
  wallMs: number,
): Pick<Ledger, 'forgotten' | 'forgottenBy'> {
  const forgotten = trim({ ...ledger.forgotten, [node]: wallMs });
  const said = Object.entries({ ...ledger.forgottenBy, ...(by === undefined ? {} : { [node]: by }) });
  const forgottenBy = Object.fromEntries(said.filter(([one]) => Object.hasOwn(forgotten, one)));
  return said.length > 0 ? { forgotten, forgottenBy } : { forgotten };
}

/** Newcomers that talk to a forgotten member have nobody who would hand them the ledger. */
const closeApprovalsVia = (ledger: Ledger, via: NodeId): Ledger['approvals'] =>
  Object.fromEntries(Object.entries(ledger.approvals).filter(([, approval]) => approval.via !== via));

/** The newest 256 forgotten ones: an older one is refused as a stranger all the same. */
const trim = (forgotten: Ledger['forgotten']): Ledger['forgotten'] => {
  const entries = Object.entries(forgotten);
  if (entries.length <= 256) return forgotten;
  return Object.fromEntries(entries.sort(([, a], [, b]) => b - a).slice(0, 256));
};

function makeInvite(ledger: Ledger, change: Change & { kind: 'make-invite' }, wallMs: number): Ledger | Refusal {
  if (Object.hasOwn(ledger.invites, change.invite)) return ledger;
  if (change.expiresAt <= wallMs) return { refused: 'this invite would have expired already: is the clock right?' };
  const open = Object.fromEntries(Object.entries(ledger.invites).filter(([, invite]) => invite.expiresAt > wallMs));
  if (Object.keys(open).length >= limits.invites)
    return { refused: `${limits.invites} invites are open: use one of them, or wait until they expire` };
  const { code, expiresAt, by } = change;
  return { ...ledger, invites: { ...open, [change.invite]: { code, expiresAt, by } } };
}

/** Said twice it stays as it was said first: a hold is not made longer by repeating it. */
const departed = (node: LedgerNode, backMs: number | undefined): LedgerNode =>
  node.left ? node : { ...node, left: true, ...(backMs === undefined ? {} : { backMs }) };

/** A node says what it is now. A name that another one has gets a suffix; the own old one, suffix included, stays. */
function introduce(ledger: Ledger, change: Change & { kind: 'introduce' }): Ledger | Refusal {
  const old = ledger.nodes[change.node];
  if (!old) return { refused: 'this node is not in the mesh: it must be approved first' };
  const name = freeName(ledger, change.name, change.node);
  const { addresses, store, witness } = change;
  // What it no longer says is not kept: what its version can, and until when it meant to be back.
  const { can: could, backMs: _hold, ...known } = old;
  const same =
    old.name === name &&
    old.store === store &&
    old.witness === witness &&
    !old.left &&
    String(could ?? []) === String(change.can ?? []) &&
    old.addresses.length === addresses.length &&
    old.addresses.every((address, index) => address === addresses[index]);
  if (same) return ledger;
  const can = change.can ? { can: change.can } : {};
  const node: LedgerNode = { ...known, name, addresses, store, witness, left: false, ...can };
  return { ...ledger, nodes: { ...ledger.nodes, [change.node]: node } };
}

function drain(ledger: Ledger, wanted: string, drained: boolean): Ledger | Refusal {
  const node = find(ledger.nodes, wanted);
  if (node === null) return { refused: noNode(ledger, wanted) };
  return mapNode(ledger, node, (entry) => (entry.drained === drained ? entry : { ...entry, drained }));
}

const isTime = (value: unknown): boolean =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 && value <= 86_400_000;

const expected = {
  retryLost: (value: unknown) => (typeof value === 'boolean' ? null : 'retryLost is true or false'),
  defaultArch: (value: unknown) =>
    typeof value === 'string' && /^[a-z0-9_-]{1,32}$/.test(value)
      ? null
      : 'defaultArch is the name of an architecture: amd64, arm64 or riscv64',
  graceMs: (value: unknown) => (isTime(value) ? null : 'graceMs is a time up to 1d'),
  inSyncGraceMs: (value: unknown) => (isTime(value) ? null : 'inSyncGraceMs is a time up to 1d'),
  failover: (value: unknown) => (typeof value === 'boolean' ? null : 'failover is true or false'),
  silentMs: (value: unknown) =>
    typeof value === 'number' && value >= silentMs.least && value <= silentMs.most
      ? null
      : `silentMs is a time from ${span(silentMs.least)} (less, and a job could run twice at once) to ${span(silentMs.most)}, such as 30s`,
} as const;

function set(ledger: Ledger, key: keyof typeof expected, value: boolean | string | number): Ledger | Refusal {
  const wrong = expected[key](value);
  if (wrong !== null) return { refused: wrong };
  return ledger.settings[key] === value ? ledger : { ...ledger, settings: { ...ledger.settings, [key]: value } };
}

/** Another GitLab's runners mean nothing to this one, so its classes are forgotten with it. */
function connectGitlab(ledger: Ledger, change: Change & { kind: 'connect-gitlab' }, wallMs: number): Ledger | Refusal {
  if (ledger.gitlab.mode === 'hosted')
    return { refused: 'this mesh hosts its own GitLab: autogit-node gitlab uninstall first' };
  if (change.token === null && change.runnerTokens.length === 0)
    return { refused: 'a token is needed: an admin token, or a runner token for each set of tags' };
  const isSame = ledger.gitlab.url === change.url && ledger.gitlab.instance === change.instance;
  const classes: Ledger['classes'] = isSame ? { ...ledger.classes } : {};
  for (const { tags, token } of change.runnerTokens) {
    const set = [...new Set(tags)].sort();
    // Where an earlier version has these tags under another key, they stay there.
    const known = Object.keys(classes).find((key) => classKey(classes[key]!.tags) === classKey(set));
    classes[known ?? classKey(set)] = {
      tags: set,
      state: 'ready',
      nonce: 'given',
      runner: null,
      token,
      lastUsedAt: wallMs,
      given: true,
      ...(ledger.secrets ? { epoch: ledger.secrets.wanted } : {}),
    };
  }
  if (Object.keys(classes).length > limits.classes)
    return { refused: `more than ${limits.classes} sets of tags: give fewer runner tokens` };
  const { url, token, instance, lacksSudo } = change;
  const { leaving: _void, lacksSudo: _before, tokenEnds: _old, over, ...before } = ledger.gitlab;
  // Another GitLab does not know the one that is to be ended.
  const stillOver = over !== undefined && before.url === url ? { over } : {};
  const connected = { ...before, ...stillOver, mode: 'connected' as const, url, token, instance };
  const gitlab = { ...connected, ...(lacksSudo && { lacksSudo }) };
  return { ...ledger, classes, gitlab, ...tokenIsNew(ledger) };
}

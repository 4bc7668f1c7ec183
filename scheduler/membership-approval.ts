import type { Change } from '../protocol/changes.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { Ledger, OpenApproval } from '../protocol/ledger.ts';
import { limits } from '../protocol/limits.ts';
import { didYouMean } from './jobs/near-word.ts';
import type { Refusal } from './ledger-edit.ts';
import { find, freeName, known, without } from './membership-names.ts';

/**
 * A newcomer's way in (DESIGN §4): its words wait in the ledger, so that any member can show them; a person approves, or
 * an invite or an open pairing window does. Approved, it is a node like any other, under a name of its own.
 */
export function openApproval(ledger: Ledger, node: NodeId, approval: OpenApproval, wallMs: number): Ledger | Refusal {
  if (Object.hasOwn(ledger.nodes, node)) return { refused: `${ledger.nodes[node]!.name} is in this mesh already` };
  const old = ledger.approvals[node];
  // Who was ignored stays ignored, also with new words: asking again must not be a way to pester.
  const next = {
    ...approval,
    since: old?.since ?? approval.since ?? wallMs,
    ignored: old?.ignored ?? approval.ignored,
  };
  if (!old && Object.keys(ledger.approvals).length >= limits.openApprovals) {
    const ignored = Object.keys(ledger.approvals).find((other) => ledger.approvals[other]!.ignored);
    if (ignored === undefined)
      return { refused: `${limits.openApprovals} machines wait already: approve or ignore one of them first` };
    return { ...ledger, approvals: { ...without(ledger.approvals, ignored), [node]: next } };
  }
  return { ...ledger, approvals: { ...ledger.approvals, [node]: next } };
}

export const closeApproval = (ledger: Ledger, node: NodeId): Ledger =>
  Object.hasOwn(ledger.approvals, node) ? { ...ledger, approvals: without(ledger.approvals, node) } : ledger;

const waiting = (ledger: Ledger): NodeId[] =>
  Object.keys(ledger.approvals).filter((node) => !ledger.approvals[node]!.ignored);

export function approve(ledger: Ledger, change: Change & { kind: 'approve' }, wallMs: number): Ledger | Refusal {
  const { words } = change;
  let node: NodeId | null;
  if (change.node === null) {
    const open = waiting(ledger);
    if (open.length === 0) return { refused: 'no machine waits for approval' };
    if (words === null) return { refused: nothingCompared };
    const byWords = open.filter((one) => ledger.approvals[one]!.words === words);
    if (byWords.length === 0) return { refused: `no waiting machine shows the words ${words}` };
    if (byWords.length > 1)
      return { refused: `${byWords.length} machines show these words: ignore all of them, and let them join again` };
    node = byWords[0]!;
  } else {
    node = find(ledger.approvals, change.node);
    const member = find(ledger.nodes, change.node);
    if (node === null && member !== null) return ledger;
    if (node === null) return { refused: notWaiting(ledger, change.node) };
  }
  const approval = ledger.approvals[node]!;
  // Also when an older version's command asks: a name is free to choose, and whoever knocks first may carry it.
  if (words === null) return { refused: nothingCompared };
  if (words !== approval.words)
    return {
      refused: `${approval.name} shows other words: ${approval.words}; if these are not on its screen, do not let it in: autogit-node ignore ${approval.name}`,
    };
  return admit(ledger, node, approval, change.because, wallMs);
}

const nothingCompared =
  'nobody compared the words: on the machine that waits, read its four words; here: autogit-node approve NAME --words THEM';

function notWaiting(ledger: Ledger, wanted: string): string {
  const namesakes = Object.values(ledger.approvals).filter(({ name }) => name === wanted).length;
  if (namesakes > 1) return `${namesakes} waiting machines are called ${wanted}: give the id, or --words`;
  const names = known(ledger.approvals);
  const guess = didYouMean(
    wanted,
    Object.values(ledger.approvals).map(({ name }) => name),
  );
  return `no machine called ${wanted} waits${names === '' ? '' : `; waiting: ${names}`}${guess}`;
}

export function approveInvited(
  ledger: Ledger,
  change: Change & { kind: 'approve-invited' },
  wallMs: number,
): Ledger | Refusal {
  if (Object.hasOwn(ledger.nodes, change.node)) return ledger;
  const invite = ledger.invites[change.invite];
  if (!invite) return { refused: 'this invite was used already, or never made: make another one: autogit-node invite' };
  if (invite.expiresAt <= wallMs) return { refused: 'this invite has expired: make another one: autogit-node invite' };
  const by = ledger.nodes[invite.by]?.name ?? 'a node that is gone';
  const used = { ...ledger, invites: without(ledger.invites, change.invite) };
  return admit(used, change.node, change.approval, `came with an invite made on ${by}`, wallMs);
}

export function approvePaired(
  ledger: Ledger,
  change: Change & { kind: 'approve-paired' },
  wallMs: number,
): Ledger | Refusal {
  if (Object.hasOwn(ledger.nodes, change.node)) return ledger;
  if (Object.hasOwn(ledger.forgotten, change.node))
    return { refused: 'this node was forgotten: only a person may let it in again: autogit-node approve' };
  if (ledger.pairUntil <= wallMs)
    return { refused: 'the pairing window is closed: autogit-node approve, or pair again' };
  return admit(ledger, change.node, change.approval, 'came while the pairing window was open', wallMs);
}

function admit(
  ledger: Ledger,
  node: NodeId,
  approval: OpenApproval,
  because: string,
  wallMs: number,
): Ledger | Refusal {
  if (Object.keys(ledger.nodes).length >= limits.nodes)
    return { refused: `a mesh has at most ${limits.nodes} nodes: forget one that is gone: autogit-node forget NAME` };
  const { addresses, store, witness } = approval;
  const name = freeName(ledger, approval.name, node);
  const entry = { name, approvedAt: wallMs, because, addresses, store, witness, drained: false, left: false };
  return {
    ...ledger,
    nodes: { ...ledger.nodes, [node]: entry },
    approvals: without(ledger.approvals, node),
    forgotten: without(ledger.forgotten, node),
    ...(ledger.forgottenBy ? { forgottenBy: without(ledger.forgottenBy, node) } : {}),
  };
}

export function ignore(ledger: Ledger, wanted: string): Ledger | Refusal {
  const node = find(ledger.approvals, wanted);
  if (node === null) return { refused: notWaiting(ledger, wanted) };
  const approval = ledger.approvals[node]!;
  if (approval.ignored) return ledger;
  return { ...ledger, approvals: { ...ledger.approvals, [node]: { ...approval, ignored: true } } };
}

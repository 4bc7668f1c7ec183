import type { Change } from '../protocol/changes.ts';
import { type NodeId, own } from '../protocol/ids.ts';
import type { Ledger, LedgerSecrets } from '../protocol/ledger.ts';
import { leavingOf, markOf } from './disconnecting.ts';
import type { LedgerEdit } from './ledger-edit.ts';
import { without } from './membership-names.ts';
import { withNoticeSecrets } from './notices/notice-edits.ts';

const none: LedgerSecrets = { wanted: 0, admin: 0, keys: [] };
/** So many mesh keys are kept sealed: jobs that ran when one was replaced have tokens sealed with the one before. */
const keysKept = 3;

/** A machine was removed at `wallMs`: what it knew is to be changed. Its own envelopes go at once. */
export function wantNewSecrets({ secrets = none, forgotten }: Ledger, removed: NodeId, wallMs: number): LedgerSecrets {
  const before = Object.entries(secrets.counted ?? forgotten).filter(([node]) => Object.hasOwn(forgotten, node));
  return wantedAnew(secrets, [removed], { ...Object.fromEntries(before), [removed]: wallMs });
}

function wantedAnew(secrets: LedgerSecrets, removed: readonly NodeId[], counted: Ledger['forgotten']): LedgerSecrets {
  const keys = secrets.keys.map((key) => ({ ...key, sealed: removed.reduce(without, key.sealed) }));
  return { ...secrets, wanted: secrets.wanted + 1, keys, counted };
}

/**
 * A leader of a version that changes nothing when it removes a machine left that undone: the next one of this version does
 * it. Where removals were not noted one by one yet, those until now had been counted: that is noted.
 */
const removalsCounted: LedgerEdit = {
  name: 'removals-counted',
  because: 'machines were removed by an earlier version: what they knew is changed',
  apply: (ledger) => {
    const { secrets, forgotten } = ledger;
    if (secrets !== undefined && secrets.counted === undefined)
      return { ...ledger, secrets: { ...secrets, counted: forgotten } };
    const left = uncounted(ledger);
    return left.length === 0 ? ledger : { ...ledger, secrets: wantedAnew(secrets ?? none, left, forgotten) };
  },
};

const uncounted = ({ secrets, forgotten }: Ledger): NodeId[] =>
  Object.keys(forgotten).filter((node) => secrets?.counted?.[node] !== forgotten[node]);

/** The leader's part of it; nothing where all is counted. */
export const editsForRemovals = (ledger: Ledger): LedgerEdit[] =>
  uncounted(ledger).length > 0 ? [removalsCounted] : [];

/** A person gave GitLab's token anew: nobody who was removed knows it. */
export const tokenIsNew = ({ secrets }: Ledger): { secrets?: LedgerSecrets } =>
  secrets ? { secrets: { ...secrets, admin: secrets.wanted } } : {};

/** Each part changes nothing when what it replaces is no longer there: it may come late, and twice. */
export function reseal(
  ledger: Ledger,
  { token, over, ended, key, runner, vault, certificate, notices, ends }: Change & { kind: 'reseal' },
): Ledger {
  let next = ledger;
  if (token && next.gitlab.token === token.was) next = withToken(next, token);
  if (over && next.gitlab.over?.token === over.was)
    next = { ...next, gitlab: { ...next.gitlab, over: { ...next.gitlab.over, token: over.now } } };
  if (ended && next.gitlab.over?.token === ended.of) next = withoutOver(next, next.gitlab.over.epoch);
  if (ends && next.gitlab.token === ends.of) next = withTokenEnd(next, ends.at);
  if (key) next = withKey(next, key);
  if (runner) next = withRunnerToken(next, runner);
  const known = next.gitlab.vault;
  if (vault && known?.secret === vault.was)
    next = { ...next, gitlab: { ...next.gitlab, vault: { ...known, secret: vault.now } } };
  if (notices) next = withNoticeSecrets(next, notices);
  return certificate ? withCertificateKey(next, certificate) : next;
}

function withToken(ledger: Ledger, { now, epoch, over }: NonNullable<(Change & { kind: 'reseal' })['token']>): Ledger {
  const { leaving } = ledger.gitlab;
  const said = leaving && leavingOf(ledger) ? { leaving: { ...leaving, of: markOf(now) } } : {};
  if (epoch === null) return { ...ledger, gitlab: { ...ledger.gitlab, token: now, ...said } };
  // Of a token that is another one it is not known when it ends.
  const { tokenEnds: _old, ...gitlab } = ledger.gitlab;
  const next = { ...ledger, gitlab: { ...gitlab, token: now, ...said } };
  // Until the one of before has ended, who knew that may still use it.
  return over === undefined
    ? withAdmin(next, epoch)
    : { ...next, gitlab: { ...next.gitlab, over: { token: over, epoch } } };
}

const withAdmin = (ledger: Ledger, epoch: number): Ledger =>
  ledger.secrets ? { ...ledger, secrets: { ...ledger.secrets, admin: Math.max(ledger.secrets.admin, epoch) } } : ledger;

function withoutOver(ledger: Ledger, epoch: number): Ledger {
  const { over: _ended, ...gitlab } = ledger.gitlab;
  return withAdmin({ ...ledger, gitlab }, epoch);
}

function withTokenEnd(ledger: Ledger, at: number | null): Ledger {
  const { tokenEnds, ...gitlab } = ledger.gitlab;
  if ((tokenEnds ?? null) === at) return ledger;
  return { ...ledger, gitlab: at === null ? gitlab : { ...gitlab, tokenEnds: at } };
}

function withCertificateKey(ledger: Ledger, { was, now }: { was: string; now: string }): Ledger {
  const { gitlab } = ledger;
  const https = gitlab.hosted?.https;
  if (gitlab.hosted === undefined || https?.key !== was) return ledger;
  return { ...ledger, gitlab: { ...gitlab, hosted: { ...gitlab.hosted, https: { ...https, key: now } } } };
}

function withKey(ledger: Ledger, key: { epoch: number; sealed: Record<NodeId, string> }): Ledger {
  const { secrets, nodes } = ledger;
  const newest = secrets?.keys.at(-1);
  // Asked for before another removal: then the removed one might be among those it is sealed for.
  if (!secrets || key.epoch !== secrets.wanted || key.epoch < (newest?.epoch ?? 0)) return ledger;
  const members = Object.fromEntries(Object.entries(key.sealed).filter(([node]) => Object.hasOwn(nodes, node)));
  const isSame = newest?.epoch === key.epoch;
  const sealed = isSame ? { ...members, ...newest.sealed } : members;
  if (isSame && Object.keys(sealed).length === Object.keys(newest.sealed).length) return ledger;
  const before = isSame ? secrets.keys.slice(0, -1) : secrets.keys;
  return { ...ledger, secrets: { ...secrets, keys: [...before, { epoch: key.epoch, sealed }].slice(-keysKept) } };
}

function withRunnerToken(
  ledger: Ledger,
  { class: key, was, now, epoch }: { class: string; was: string; now: string; epoch: number },
): Ledger {
  const entry = own(ledger.classes, key);
  if (!entry || entry.token !== was) return ledger;
  return { ...ledger, classes: { ...ledger.classes, [key]: { ...entry, token: now, epoch } } };
}

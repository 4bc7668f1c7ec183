import type { Change } from '../../protocol/changes.ts';
import { own } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { LedgerNotices, NoticeMemory } from '../../protocol/notices.ts';
import { whichVoterIsOlder } from '../disconnecting.ts';
import type { Refusal } from '../ledger-edit.ts';
import { without } from '../membership-names.ts';
import { listed } from '../phrases.ts';

type Of<K extends Change['kind']> = Change & { kind: K };

/** What a person, an autogit.yml or the leader says of notices. Any voter may have to lead, and tell. */
export function changeNotices(
  ledger: Ledger,
  change: Of<'notice-target'> | Of<'quiet-hours'> | Of<'notices-told'>,
  wallMs: number,
): Ledger | Refusal {
  if (change.kind === 'notices-told') return remember(ledger, change);
  const refused = whichVoterIsOlder(ledger, [], 'notices', 'tells nobody anything');
  if (refused !== null) return { refused };
  return change.kind === 'quiet-hours' ? setQuiet(ledger, change) : setTarget(ledger, change, wallMs);
}

const noticesOf = (ledger: Ledger): LedgerNotices => ledger.notices ?? { targets: {} };

/** Nothing of it is left where nobody is told and nothing was said. */
function withNotices(ledger: Ledger, notices: LedgerNotices): Ledger {
  const { notices: _before, ...rest } = ledger;
  const isEmpty = Object.keys(notices.targets).length === 0 && notices.quiet === undefined;
  return isEmpty ? rest : { ...rest, notices };
}

function setQuiet(ledger: Ledger, { quiet }: Of<'quiet-hours'>): Ledger | Refusal {
  // The command line asks for none; a program at agent.sock may.
  if (quiet !== null && quiet.from === quiet.to)
    return { refused: 'hours that end when they begin are none, or the whole day: autogit-node notify quiet off' };
  const { quiet: before, ...rest } = noticesOf(ledger);
  if (JSON.stringify(before ?? null) === JSON.stringify(quiet)) return ledger;
  return withNotices(ledger, quiet === null ? rest : { ...rest, quiet });
}

function setTarget(ledger: Ledger, change: Of<'notice-target'>, wallMs: number): Ledger | Refusal {
  const notices = noticesOf(ledger);
  const { name, target, file, because } = change;
  const known = own(notices.targets, name);
  // What a person said by a command is not the file's to change.
  if (file !== undefined && known !== undefined && known.file === undefined) return ledger;
  if (target === null) {
    if (known !== undefined) return withNotices(ledger, withoutTarget(notices, name));
    const names = Object.keys(notices.targets);
    const there = names.length === 0 ? 'nobody is told anything' : `told are ${listed(names)}`;
    return file === undefined ? { refused: `nobody who is told is called ${name}: ${there}` } : ledger;
  }
  if (known === undefined && Object.keys(notices.targets).length >= limits.noticeTargets)
    return { refused: `${limits.noticeTargets} are told already: autogit-node notify remove NAME` };
  const entry = { ...target, since: wallMs, because, ...(file !== undefined && { file }) };
  const { [name]: _failed, ...failing } = notices.memory?.failing ?? {};
  const { [name]: _heard, ...heard } = notices.memory?.heard ?? {};
  const memory = notices.memory && {
    memory: { ...notices.memory, version: notices.memory.version + 1, failing, heard },
  };
  return withNotices(ledger, { ...notices, ...memory, targets: { ...notices.targets, [name]: entry } });
}

function withoutTarget(notices: LedgerNotices, name: string): LedgerNotices {
  const { memory, ...rest } = notices;
  const targets = without(notices.targets, name);
  // Who is told later is told what is broken then.
  if (memory === undefined || Object.keys(targets).length === 0) return { ...rest, targets };
  return { ...rest, targets, memory: { ...known(memory, targets), version: memory.version + 1 } };
}

/** Nothing waits for who is told no more. */
function known(memory: NoticeMemory, targets: LedgerNotices['targets']): NoticeMemory {
  const isTold = (name: string): boolean => Object.hasOwn(targets, name);
  const ofTold = <T>(all: Record<string, T>): Record<string, T> =>
    Object.fromEntries(Object.entries(all).filter(([name]) => isTold(name)));
  return {
    ...memory,
    out: memory.out.map((notice) => ({ ...notice, to: notice.to.filter(isTold) })).filter(({ to }) => to.length > 0),
    failing: ofTold(memory.failing),
    ...(memory.heard && { heard: ofTold(memory.heard) }),
  };
}

function remember(ledger: Ledger, { from, memory }: Of<'notices-told'>): Ledger | Refusal {
  const { notices } = ledger;
  if (notices === undefined) return { refused: 'nobody is told anything any more' };
  if ((notices.memory?.version ?? 0) !== from) return { refused: 'another word on what was told came first' };
  return { ...ledger, notices: { ...notices, memory: { ...known(memory, notices.targets), version: from + 1 } } };
}

/** Sealed for those who vote now: each changes nothing where what it replaces is no longer there. */
export function withNoticeSecrets(ledger: Ledger, anew: NonNullable<Of<'reseal'>['notices']>): Ledger {
  const { notices } = ledger;
  if (notices === undefined) return ledger;
  let targets = notices.targets;
  for (const [name, { was, now }] of Object.entries(anew)) {
    const one = own(targets, name);
    if (one?.secret === was) targets = { ...targets, [name]: { ...one, secret: now } };
  }
  return targets === notices.targets ? ledger : { ...ledger, notices: { ...notices, targets } };
}

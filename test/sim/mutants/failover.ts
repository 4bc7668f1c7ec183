import { hosting, type Mutant, plantedIn } from './mutant.ts';

const planted = plantedIn(hosting, 'lostHosts');

/** Of a move that nobody wished (SAFETY H7, H10). Names in brackets: the same in the model checker of the shared safety folder. */
export const failoverMutants: Mutant[] = [
  // (noWait)
  planted(
    'goes on before every lease is out',
    'H7',
    'takeover',
    'Math.max(since + graceMs, lead.since + waitMs, lead.givenAt + waitMs)',
    'since + Math.min(graceMs, 1500)',
  ),
  // (staleReport)
  planted(
    'asked for rounds before every lease is out',
    'H10',
    'takeover',
    '    forget(turn);\n    return wake(turn, dueAt);',
    '    if (!lead.question) ask(turn, now, successors, null);\n    return wake(turn, dueAt);',
    'cutHosts',
  ),
  // (anyone)
  planted(
    'goes on where nobody is in sync',
    'H10',
    'failover-rules',
    "{ kind: 'in-sync', nodes: among(members) }",
    "{ kind: 'in-sync', nodes: among(standbys) }",
  ),
  // (strictEpoch, exhostRounds)
  planted(
    'goes on with a round of another epoch',
    'H10',
    'failover-rules',
    'return round.epoch === epoch || compareRounds(base, round) === 0 || isOfBefore;',
    'return round.epoch > 0 || isOfBefore;',
  ),
  // (shortAlways)
  planted(
    'short grace after a power cut',
    'H10',
    'failover-rules',
    '  if (!wasHeard) return Math.max(graceMs, 2 * bootMs, hold) + hostingTimings.startMs;\n',
    '',
  ),
  planted('no grace', 'H10', 'failover-rules', '  if (failover?.wanted) return 0;', '  if (host !== null) return 0;'),
  planted(
    'announced reboot is not waited for',
    'H10',
    'failover-rules',
    'const hold = left ? Math.min(backMs, limits.holdMs) : 0;',
    'const hold = left ? Math.min(backMs, 0) : 0;',
    'leavingHosts',
  ),
  planted(
    'unplanned move goes on in its epoch',
    'H7',
    'failover-edits',
    'movedTo({ ...ledger, gitlab: ended }, wish, true, wish);',
    '{ ...movedTo({ ...ledger, gitlab: ended }, wish, true, wish), epoch: ledger.gitlab.epoch };',
  ),
  planted(
    'who left last is kept over a move',
    'H10',
    'move-edits',
    '...{ last: null, boot: null },',
    '...{ last: copies.set.members, boot: null },',
  ),
  planted(
    'GitLab goes round and round',
    'H7',
    'takeover',
    '(now.failover?.count ?? 0) >= failoversMost',
    '(now.failover?.count ?? 0) >= 1000',
    'roundHosts',
  ),
  planted(
    'a side beside a host that went on is none',
    'H10',
    'sides',
    'return withFork(known, { from: isBegunWithIt ? epoch + 1 : epoch, below: limits.counter, side });',
    'return known;',
    'twoSides',
  ),
  planted(
    'two sides that nobody looked at take pushes',
    'H10',
    'sides-met',
    '=> !looked && took',
    '=> looked === true && took',
    'twoSides',
  ),
  planted(
    'two sides are forgotten when one is off',
    'H10',
    'sides-met',
    'const known = (ledger.gitlab.hosted?.sides?.open ?? []).filter((one) => !isOver(view, ledger, one));',
    'const known = (ledger.gitlab.hosted?.sides?.open ?? []).filter((one) => !isOver(view, ledger, one)).slice(9);',
    'twoSides',
  ),
  planted(
    'epochs of another recovery are taken for the own',
    'H10',
    'sides',
    'epoch < below && !(side !== undefined && isOfSide(epoch, side, from - 1)),',
    'epoch < below && !(side !== undefined && epoch >= 1_000_000),',
    'bothRecovered',
  ),
];

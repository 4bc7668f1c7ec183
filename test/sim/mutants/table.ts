import { impossibleMutants } from './impossible.ts';

/** One planted bug: exact text patches of production files, each of which must match exactly once. */
export interface Mutant {
  name: string;
  /** The rule that it breaks, as SAFETY or DESIGN numbers it. */
  rule: string;
  /** Where it is best hunted: the flags are in hunt.ts. */
  hunt:
    | 'storm'
    | 'common'
    | 'long'
    | 'cuts'
    | 'rollbacks'
    | 'recoveries'
    | 'stormyKills'
    | 'duels'
    | 'split'
    | 'kills'
    | 'lag'
    | 'rogues'
    | 'hiccups'
    | 'stories';
  patches: { file: string; find: string; replace: string }[];
}

const one = (
  name: string,
  rule: string,
  file: string,
  find: string,
  replace: string,
  hunt?: Mutant['hunt'],
): Mutant => ({
  name,
  rule,
  hunt: hunt ?? (rule.startsWith('L') ? 'storm' : 'common'),
  patches: [{ file, find, replace }],
});

const raft = (file: string): string => `scheduler/raft/${file}.ts`;
const jobs = (file: string): string => `scheduler/jobs/${file}.ts`;

export const mutants: Mutant[] = [
  one(
    'volatile vote',
    'L10',
    raft('raft-turn'),
    'value: { term: raft.term, votedFor: raft.votedFor }',
    'value: { term: raft.term, votedFor: null }',
  ),
  one(
    'vote said before fsync',
    'L10',
    raft('votes'),
    'if (granted) sendAfterDisk(turn, from, reply);',
    'if (granted) send(turn, from, reply);',
  ),
  one('two votes in a term', 'L10', raft('votes'), 'if (raft.votedFor !== null)', 'if (false)', 'split'),
  one(
    'vote forgotten at restart',
    'L10',
    'scheduler/state.ts',
    'votedFor: promise.term >= accepted.stamp.term ? promise.votedFor : null',
    'votedFor: null',
    'stormyKills',
  ),
  one(
    'vote whatever the stamp',
    'L5',
    raft('votes'),
    'if (compareStamps(message.stamp, raft.accepted.stamp) < 0)\n    return answer(false',
    'if (false)\n    return answer(false',
  ),
  one(
    'version before term',
    'L5',
    'protocol/stamp.ts',
    'a.term - b.term || a.version - b.version',
    'a.version - b.version || a.term - b.term',
    'duels',
  ),
  one('stale term accepted', 'L5', raft('append'), 'if (term < raft.term) return send', 'if (false) return send'),
  one(
    'new stamp leaves joint',
    'L3',
    raft('leading'),
    '  propose(turn, raft.accepted);\n',
    '  const { next } = raft.accepted.configuration;\n  propose(turn, next ? { ...raft.accepted, configuration: { voters: next, next: null } } : raft.accepted);\n',
  ),
  one(
    'voters changed in one step',
    'L4',
    raft('configuration'),
    'configuration: { voters: ledger.configuration.voters, next },',
    'configuration: { voters: next, next: null },',
  ),
  one(
    'joint left early',
    'L3',
    raft('configuration'),
    'if (!raft.leading || !configurationCommitted(turn)) return;',
    'if (!raft.leading) return;',
  ),
  one(
    'joint by the new half only',
    'L2',
    raft('quorum'),
    'hasMajority(configuration.voters, counts) &&',
    'hasMajority(configuration.next ?? configuration.voters, counts) &&',
  ),
  one(
    'joint by the old half only',
    'L2',
    raft('quorum'),
    '(configuration.next === null || hasMajority(configuration.next, counts));',
    'true;',
  ),
  one(
    'joint by the sum',
    'L2',
    raft('quorum'),
    'hasMajority(configuration.voters, counts) && (configuration.next === null || hasMajority(configuration.next, counts));',
    'hasMajority({ ...configuration.voters, ...configuration.next }, counts);',
  ),
  one(
    'three with a tie-breaker',
    'L4',
    raft('voter-plan'),
    'chosen.size % 2 === 0 ? order[0]?.node : undefined',
    'chosen.size > 1 ? order[0]?.node : undefined',
  ),
  one(
    'candidate counts by committed voters',
    'L2',
    raft('campaign'),
    'return hasQuorum(raft.accepted.configuration, (node, store) =>\n    node === turn.self',
    'return hasQuorum((raft.committed ?? raft.accepted).configuration, (node, store) =>\n    node === turn.self',
  ),
  one(
    'acknowledged before fsync',
    'L10',
    raft('append'),
    "return sendAfterDisk(turn, from, { kind: 'ack'",
    "return send(turn, from, { kind: 'ack'",
  ),
  one(
    'leader counts itself before fsync',
    'L10',
    raft('proposal'),
    'store === turn.identity.store && seq <= raft.diskSeq',
    'store === turn.identity.store',
  ),
  one('own vote counts before fsync', 'L10', raft('campaign'), '&& campaign.ownVoteSeq <= raft.diskSeq', ''),
  one(
    'acts on accepted',
    'L1',
    raft('append'),
    'if (sameStamp(committed, accepted.stamp) && !(known && sameStamp(known.stamp, committed)))',
    'if (!(known && sameStamp(known.stamp, accepted.stamp)))',
  ),
  one(
    'commit mark by version only',
    'L5',
    raft('append'),
    'if (sameStamp(committed, accepted.stamp) && !(known && sameStamp(known.stamp, committed)))',
    'if (committed.version === accepted.stamp.version && !(known && sameStamp(known.stamp, accepted.stamp)))',
    'duels',
  ),
  {
    name: 'store id ignored',
    rule: 'L8',
    hunt: 'storm',
    patches: [
      {
        file: raft('campaign'),
        find: 'campaign.votes[node] === store &&',
        replace: 'campaign.votes[node] !== undefined &&',
      },
      { file: raft('proposal'), find: '&& acked.store === store &&', replace: '&&' },
    ],
  },
  one(
    'a store behind its own promise votes on',
    'L9',
    raft('hello'),
    'if (message.promised && hasForgotten(turn, message.promised)) foundRolledBack(turn, from, message.promised);',
    '',
    'rollbacks',
  ),
  one(
    'rolled back store keeps its id',
    'L9',
    raft('store-renewal'),
    'turn.identity = { ...turn.identity, store: minted.store };',
    '',
    'rollbacks',
  ),
  one(
    'new id of a store not on disk',
    'L9',
    raft('store-renewal'),
    'turn.save.store = store;',
    'turn.save.promise = true;',
    'rollbacks',
  ),
  one('an old era listens to a new one', 'L15', raft('era'), 'return order !== 0;', 'return order < 0;', 'recoveries'),
  one('a new era listens to an old one', 'L15', raft('era'), 'return order !== 0;', 'return order > 0;', 'recoveries'),
  one('an old era leads on', 'L15', raft('era'), '  stepDown(turn, newerEraBegan);\n', '', 'recoveries'),
  one('a new era that is not on disk', 'L15', raft('era'), '  save.accepted = true;\n}', '}', 'recoveries'),
  one(
    'all voters of the old era vote in the new one',
    'L15',
    raft('recovery'),
    'configuration: { voters: { [self]: { store: identity.store, weight: 2 } }, next: null },',
    'configuration: base.configuration,',
    'recoveries',
  ),
  one(
    'recovered from what is committed here',
    'L15',
    raft('recovery'),
    'const base = raft.accepted;',
    'const base = raft.committed ?? raft.accepted;',
    'recoveries',
  ),
  one(
    'acknowledged by a store that was rolled back',
    'L9',
    raft('append'),
    'if (raft.rolledBack !== null) return;',
    '',
    'rollbacks',
  ),
  one(
    'acts before its first ledger is committed',
    'L3',
    'scheduler/step.ts',
    'mayAct: isLeader && raft.committed?.stamp.term === raft.term,',
    'mayAct: isLeader,',
    'common',
  ),
  one(
    'answers a change before commit',
    'L16',
    raft('client-requests'),
    '(one) => compareStamps(one.stamp, stamp) <= 0',
    '() => true',
  ),
  {
    name: 'old-term entry committed by counting',
    rule: 'L1',
    hunt: 'storm',
    patches: [
      {
        file: raft('append'),
        find: 'const stamp = raft.diskStamp.term === term ? raft.diskStamp : null;',
        replace: 'const stamp = raft.diskStamp;',
      },
      {
        file: raft('leading'),
        find: 'const stamp = message.stamp?.term === raft.term ? message.stamp : null;',
        replace: 'const { stamp } = message;',
      },
      {
        file: raft('leading'),
        find: '  propose(turn, raft.accepted);\n',
        replace:
          '  raft.leading = { ...raft.leading, proposed: [{ ledger: raft.accepted, seq: 0 }] };\n  propose(turn, raft.accepted);\n',
      },
    ],
  },
  one(
    'contact counted when it is handled',
    'L12',
    raft('leading'),
    'sentAt: Math.max(sentAt, same?.sentAt ?? Number.NEGATIVE_INFINITY)',
    'sentAt: turn.at',
  ),
  one(
    "pre-vote on the asker's word",
    'L11',
    raft('votes'),
    "  if (freshProbe(turn, leader) === 'accepted')",
    "  return answerPreVote(turn, from, message.term, true, 'it says so');\n  if (freshProbe(turn, leader) === 'accepted')",
    'stories',
  ),
  one(
    'a leader that is not well leads on',
    'DESIGN 6',
    raft('handover'),
    "if (!raft.healthy) return { because: 'this node is not well', isForced: false };",
    '',
    'stories',
  ),
  one(
    'lost told to GitLab before commit',
    'J1',
    jobs('lost-runs'),
    'of Object.values(committed.runs)) {',
    'of Object.values((ledger ?? committed).runs).filter((lost) => lost.state === "lost")) {\n    committed.runs[run.run]?.state !== "lost" && turn.effects.push({ kind: "fail-run", run, because: run.because });',
  ),
  one(
    'silent node lost too soon',
    'J1',
    jobs('lost-runs'),
    'Math.max(leastMs, ageMs / 10)',
    'Math.max(200, ageMs / 1000)',
    'cuts',
  ),
  one('deaf machine lost like a silent one', 'J1', jobs('away'), 'jobTimings.deafAfterMs', 'Infinity', 'stories'),
  one('dead agent lost too soon', 'J1', jobs('job-timings'), 'sharedTimings.adoptionMs', '300', 'kills'),
  {
    name: 'lost run comes back',
    rule: 'J1',
    hunt: 'long',
    patches: [
      {
        file: jobs('run-edits'),
        find: "if (known.state === 'lost') return told.state === 'delivered' ?",
        replace: "if (known.state === 'lost') return told.state !== 'lost' ?",
      },
    ],
  },
  one(
    'grant used twice',
    'J5',
    jobs('grant-taking'),
    'if (turn.jobs.own.usedGrants.includes(grant.grant)) return;',
    '',
    'hiccups',
  ),
  ...impossibleMutants,
  one('no look at the room on the node', 'DESIGN 7.4', jobs('grant-taking'), 'if (!verdict.fits) {', 'if (false) {'),
  one(
    'asking not on disk',
    'J3',
    jobs('grant-taking'),
    "writes: [{ key: 'asking', value: asking }], then }",
    'writes: [], then }',
  ),
  {
    name: 'running jobs taken for strays',
    rule: 'J3',
    hunt: 'stories',
    patches: [
      {
        file: jobs('run-compare'),
        find: 'if (own.has(job) || failing.has(job) || look.ledger.rescues?.[job] !== undefined) continue;',
        replace: '',
      },
      // What is committed is not done either while somebody owns the job: the bug must have both.
      {
        file: jobs('run-compare'),
        find: 'if (ledger.rescues?.[key] === undefined || own.has(job)) continue;',
        replace: 'if (ledger.rescues?.[key] === undefined) continue;',
      },
    ],
  },
  {
    name: 'grant before the class is committed',
    rule: 'J7',
    hunt: 'common',
    patches: [
      {
        file: jobs('grants'),
        find: 'const entry = committed.classes[key];\n  const memo',
        replace: 'const entry = ledger.classes[key];\n  const memo',
      },
      {
        file: jobs('grants'),
        find: 'const entry = committed.classes[key];\n  if (entry',
        replace: 'const entry = ledger.classes[key];\n  if (entry',
      },
    ],
  },
  one(
    'token in the log',
    'DESIGN 12',
    jobs('grants'),
    'grant: grant.grant,\n      node: placed.name,',
    'grant: runner.token,\n      node: placed.name,',
  ),
  one(
    'token in gossip',
    'DESIGN 12',
    jobs('own-report'),
    '    version,\n',
    '    version: turn.context.ledger?.gitlab.token?.slice(0, 60) ?? version,\n',
  ),
];

import { type Mutant, one } from '../mutants/mutant.ts';

const rules = 'scheduler/hosting/copies/copy-rules.ts';
const planted = (name: string, file: string, find: string, replace: string): Mutant =>
  one(name, 'H10', file, find, replace, 'hosts');

/** What gives up must know the time: `due` has it. */
const giveUp: Mutant = {
  ...planted('giveUp', rules, '', ''),
  patches: [
    {
      file: rules,
      find: 'this.#wait.release(this.#needed, this.#members.length === 0)',
      replace:
        'this.#wait.release(this.#needed.filter((node) => this.#late.heldUpAt(node) > this.#toldNow), this.#members.length === 0)',
    },
    { file: rules, find: 'this.#decide(at);', replace: 'this.#toldNow = at;\n    this.#decide(at);' },
    {
      file: rules,
      find: '#copies: HostedCopies | null | undefined;',
      replace: '#copies: HostedCopies | null | undefined;\n  #toldNow = 0;',
    },
  ],
};

/** Bugs in the rules of copies, by the names that the model of the rules gives them. */
export const copiesMutants: Mutant[] = [
  planted('noCas', 'scheduler/hosting/copies-edits.ts', 'if (version !== change.from)', 'if (version < change.from)'),
  planted('addNoUnion', rules, 'new Set([...this.#members, ...this.#newcomers])', 'new Set([...this.#members])'),
  planted(
    'addStale',
    rules,
    'if (!newcomer || this.#letGo === null || !this.#wait.has(newcomer.node, this.#letGo)) return null;',
    'if (!newcomer) return null;',
  ),
  planted('pendTimeout', rules, 'if (newcomer && !newcomer.isAsked && this.#whyOut', 'if (newcomer && this.#whyOut'),
  giveUp,
  planted(
    'oneStandby',
    'scheduler/hosting/copies/push-wait.ts',
    '![own, ...needed].every((member) => this.has(member, round))',
    '!(this.has(own, round) && (needed.length === 0 || needed.some((member) => this.has(member, round))))',
  ),
  planted(
    'joinRunning',
    'scheduler/hosting/copies/push-wait.ts',
    'this.#waiting.push({ id, round: null, isPatient });',
    'this.#waiting.push({ id, round: this.newestOf(own), isPatient });',
  ),
  planted('noBump', rules, 'return this.#copies?.set.boot === this.#options.boot;', 'return !!this.#copies?.set.boot;'),
  planted(
    'numberOnly',
    rules,
    '// By the whole name: a number of another epoch says nothing.\n    if (!this.#isOurs(round)) return;',
    'round = { ...round, epoch: this.#options.epoch };',
  ),
  planted(
    'thinPinned',
    'scheduler/hosting/copies/thinning.ts',
    'if (one === newest || pinned.has(roundText(one.name))) return false;',
    'if (one === newest) return false;',
  ),
  planted(
    'pinByAnyAck',
    'scheduler/hosting/copies/standby-record.ts',
    'if (this.inFlight === null) return;\n    if (roundText(this.inFlight) === roundText(round)) this.pin = round;',
    'this.pin = round;\n    if (this.inFlight === null) return;',
  ),
  planted('meterBest', rules, 'Math.min(...(times as number[]))', 'Math.max(...(times as number[]))'),
  planted('nameAlone', 'scheduler/hosting/copies/held-rounds.ts', 'uuid === null ? null : uuidHere(name)', 'null'),
  planted(
    'takeOther',
    'scheduler/hosting/copies/standby-rules.ts',
    'uuids.get(roundText(name)) === uuid ?',
    'uuids.size > 0 ?',
  ),
  planted('takeAny', 'scheduler/hosting/copies/standby-rules.ts', 'if (of?.host !== from)', 'if (of === null)'),
];

import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import { plural } from '../../../scheduler/phrases.ts';
import { type Finding, finding } from '../../doctor/finding.ts';
import { showBytes } from '../../settings/quantities.ts';
import type { DeployFacts } from '../deploy-facts.ts';
import { preflight } from '../deploy-preflight.ts';
import { gitlabTimings } from '../gitlab-state.ts';
import type { PlaceAt } from '../place-choice.ts';
import { presets } from '../presets.ts';

/** What the machine knows to which GitLab shall move, looked at just now. */
interface MoveTargetFacts {
  hosting: Hosting;
  /** By the names and folders of GitLab's own. */
  facts: DeployFacts;
  /** Where its copies lie. */
  place: PlaceAt | { problem: string };
  freeBytes: number;
  /** Why the certificate of its address is none here. */
  certificate: string | null;
  /** Jobs of the mesh that run there. */
  running: number;
}

/** What a flag of `gitlab deploy` would mend is mended otherwise here. */
const fixes: Readonly<Record<string, string>> = {
  memory: 'name a machine with more memory, or end what has it: ps aux --sort=-rss | head',
  ports: 'end what listens there, then the same command again',
};

/** What cannot be had is pulled by hand there; no other image than GitLab's own may be named. */
const imageFix = (fix: string): string =>
  fix.startsWith('docker pull')
    ? `there: ${fix}`
    : fix.includes('--image IMAGE')
      ? 'GitLab moves to machines of the same kind only: name another one'
      : fix;

/** Whether GitLab can move to this machine, as lines with what helps. Pure. */
export function targetChecks(target: MoveTargetFacts): Finding[] {
  const { hosting, facts, place, freeBytes, certificate, running } = target;
  const { image, preset, port, sshPort, httpPort } = hosting;
  const { leastMemoryBytes, leastDiskBytes } = presets[preset];
  const { checks } = preflight(facts, { image, preset, port, sshPort, httpPort, leastMemoryBytes, leastDiskBytes });
  const known = checks
    // Of a place its copies say more, and another GitLab is in the way only by its ports.
    .filter(({ what }) => what !== 'place' && what !== 'gitlab')
    .map(({ state, what, sentence, fix }) => finding(what, state, sentence, fix && (fixes[what] ?? imageFix(fix))));
  const jobs =
    running === 0
      ? []
      : [
          finding(
            'jobs',
            'ok',
            `${plural(running, 'job')} of the mesh ${running === 1 ? 'runs' : 'run'} there and ${running === 1 ? 'goes' : 'go'} on: none is ended to make room`,
          ),
        ];
  const fix = 'bring one that names both machines, or the name that leads to them: autogit-node gitlab certificate';
  const tls = certificate === null ? [] : [finding('https', 'fail', certificate, fix)];
  return [...known, placeLine(place, freeBytes), ...tls, ...jobs];
}

/** That its owner wants it for himself now, in words: no person moves GitLab there before he has it back. */
export const ownerCheck = (name: string, paused: string | null): Finding[] =>
  paused === null ? [] : [finding('owner', 'fail', paused, `wait, or on ${name}: autogit-node resume`)];

/** Of a GitLab that has the mesh's own name. */
export const nameCheck = (name: string): Finding =>
  finding(
    'name',
    'warn',
    `it answers to no name on the LAN, so ${name} leads to no GitLab that runs here`,
    'have it join without --no-mdns and --forward never',
  );

function placeLine(place: MoveTargetFacts['place'], freeBytes: number): Finding {
  if ('problem' in place)
    return finding(
      'place',
      'fail',
      `its copies of GitLab are not open: ${place.problem}`,
      'autogit-node gitlab copies',
    );
  const said = `its copies in ${place.path} become GitLab's data; ${showBytes(freeBytes)} are free`;
  if (freeBytes >= gitlabTimings.leastFreeBytes) return finding('place', 'ok', said);
  return finding(
    'place',
    'warn',
    `${said}, and GitLab stops at a full disk`,
    'make room there first, or name another machine',
  );
}

/** What the machine knows that runs GitLab. */
interface MoveHostFacts {
  /** It works, and may be served. */
  isServing: boolean;
  /** What else this machine is at with GitLab; null: nothing. */
  busy: string | null;
  /** Why the copy there is not all of GitLab yet. */
  lacks: string | null;
  /** Where backups go, if that is a folder or a disk of this machine. */
  ownBackups: string | null;
}

export function hostChecks({ isServing, busy, lacks, ownBackups }: MoveHostFacts): Finding[] {
  const checks: Finding[] = [];
  if (!isServing)
    checks.push(
      finding('state', 'fail', 'GitLab does not serve now: what is ill is not moved', 'autogit-node reconcile'),
    );
  if (busy !== null) checks.push(finding('state', 'fail', busy, 'wait until that is over: autogit-node gitlab'));
  checks.push(
    lacks === null
      ? finding('copy', 'ok', 'in sync; what is written until then goes over as the last round')
      : finding('copy', 'fail', lacks, 'wait until it is in sync: autogit-node gitlab copies'),
  );
  if (ownBackups !== null)
    checks.push(
      finding(
        'backups',
        'warn',
        `backups go to ${ownBackups} of this machine, which the other one has not: none is made there until you name a place`,
        'after the move: autogit-node gitlab backup --to TARGET',
      ),
    );
  return checks;
}

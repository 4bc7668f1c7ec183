import { type UpgradeWay, versionOf, versionText } from '../../../scheduler/hosting/upgrade-path.ts';
import { listed } from '../../../scheduler/phrases.ts';
import { type Finding, finding } from '../../doctor/finding.ts';
import { showBytes } from '../../settings/quantities.ts';
import type { ImageFacts } from '../deploy-facts.ts';

/** What a host knows before GitLab is upgraded, looked at just now. */
interface UpgradeFacts {
  /** In GitLab's own words; null before it ever worked here. */
  version: string | null;
  way: UpgradeWay | null;
  /** Of the first image on the way. `unknown`: its registry gave no answer. */
  image: ImageFacts & { name: string };
  /** Of this machine, as images call it. */
  architecture: string;
  place: { kind: 'subvolume' | 'image' | 'folder'; path: string; freeBytes: number; needsBytes: number };
  memory: { availableBytes: number; needsBytes: number };
  /** What else this machine is at with GitLab; null: nothing. */
  busy: string | null;
  /** It serves now. */
  isServing: boolean;
  rehearse: boolean;
  /** Where else GitLab is: machines in sync, and a backup, in words. */
  elsewhere: string[];
}

/** Whether it can be begun, as lines with what helps. Pure. */
export function upgradeChecks(facts: UpgradeFacts): Finding[] {
  const { version, way, isServing, busy } = facts;
  if (version === null || way === null)
    return [
      finding('version', 'fail', 'GitLab has not worked here yet, so its version is not known', 'autogit-node gitlab'),
    ];
  if ('refused' in way) return [finding('version', 'fail', way.refused, way.fix)];
  const checks: Finding[] = [wayLine(version, way)];
  if (!isServing)
    checks.push(
      finding('state', 'fail', 'GitLab does not serve now: what is ill is not upgraded', 'autogit-node reconcile'),
    );
  if (busy !== null) checks.push(finding('state', 'fail', busy, 'wait until that is over: autogit-node gitlab'));
  return [...checks, image(facts), place(facts), ...memory(facts), back(facts)];
}

function wayLine(version: string, { steps }: Extract<UpgradeWay, { steps: unknown }>): Finding {
  const from = versionOf(version);
  const stops = steps.slice(0, -1).map((one) => one.version);
  const by = stops.length === 0 ? '' : `, by way of ${listed(stops)}, where GitLab must stop`;
  return finding('version', 'ok', `${from === null ? version : versionText(from)} to ${steps.at(-1)?.version}${by}`);
}

function image({ image: { name, state, architectures: kinds, problem }, architecture }: UpgradeFacts): Finding {
  if (kinds.length > 0 && !kinds.includes(architecture))
    return finding(
      'image',
      'fail',
      `${name} is for ${kinds.join(', ')}, and this machine is ${architecture}`,
      'name an image for this kind of machine: --image IMAGE',
    );
  const why = problem === null ? '' : `: ${problem}`;
  switch (state) {
    case 'here':
      return finding('image', 'ok', `${name}, which is here`);
    case 'pullable':
      return finding('image', 'ok', `${name}, to be pulled while GitLab serves`);
    case 'missing':
      return finding('image', 'fail', `${name} cannot be had${why}`, `docker pull ${name}`);
    case 'unknown':
      return finding(
        'image',
        'warn',
        `${name} is not here, and its registry gave no answer${why}`,
        `docker pull ${name}`,
      );
  }
}

function place({ place: { kind, path, freeBytes, needsBytes } }: UpgradeFacts): Finding {
  if (kind === 'folder')
    return finding(
      'place',
      'fail',
      `GitLab's data in ${path} are a plain folder, of which no snapshot is kept: there would be no way back`,
      'deploy it as root, where a folder on btrfs or an image can be made, or upgrade by hand: docs.gitlab.com/install/docker/upgrade',
    );
  if (freeBytes >= needsBytes)
    return finding('place', 'ok', `what GitLab is now is kept beside it; ${showBytes(freeBytes)} are free`);
  return finding(
    'place',
    'warn',
    `${showBytes(freeBytes)} are free in ${path}, and an upgrade may write ${showBytes(needsBytes)}: it is enlarged first, as far as its disk has room`,
  );
}

function memory({ memory: { availableBytes, needsBytes }, rehearse }: UpgradeFacts): Finding[] {
  if (!rehearse) return [finding('rehearsal', 'warn', 'it is not tried on a clone first')];
  if (availableBytes >= needsBytes) return [finding('rehearsal', 'ok', 'on a clone first, beside what serves')];
  return [
    finding(
      'rehearsal',
      'fail',
      `a clone beside what serves needs ${showBytes(needsBytes)} of memory, and ${showBytes(availableBytes)} are free`,
      'end what needs it, or leave the rehearsal out: autogit-node gitlab upgrade --no-rehearsal',
    ),
  ];
}

function back({ elsewhere }: UpgradeFacts): Finding {
  if (elsewhere.length > 0) return finding('way back', 'ok', `what is kept on this machine; ${listed(elsewhere)}`);
  return finding(
    'way back',
    'warn',
    'nothing but what is kept on this machine: GitLab has no copy elsewhere, and no backup',
    'autogit-node gitlab backup --to /mnt/disk/gitlab',
  );
}

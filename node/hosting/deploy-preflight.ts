import { type Finding, finding } from '../doctor/finding.ts';
import { asRootService } from '../machine/as-service.ts';
import { showBytes } from '../settings/quantities.ts';
import type { DeployFacts } from './deploy-facts.ts';
import { choosePlace, type PlaceChoice } from './place-choice.ts';

export interface DeployNeeds {
  image: string;
  preset: string;
  port: number;
  sshPort: number | null;
  /** Where http is led to https. */
  httpPort?: number | undefined;
  /** Of the preset: less on the whole machine, and it is refused. */
  leastMemoryBytes: number;
  leastDiskBytes: number;
}

interface Preflight {
  /** What was looked at, in the order in which people read it; one `fail` refuses the deploy. */
  checks: Finding[];
  /** Null where nothing is fit. */
  place: PlaceChoice | null;
}

/** GitLab's image needs what came with 20.10. */
const leastApi = 1.41;

/** Whether that machine can run GitLab, before anything is begun. Pure: everything that is known stands in `facts`. */
export function preflight(facts: DeployFacts, needs: DeployNeeds): Preflight {
  const chosen =
    'problem' in facts.place
      ? { refused: facts.place.problem, fix: facts.place.fix }
      : choosePlace(facts.place, needs.leastDiskBytes, needs.preset !== 'minimal');
  const place = 'refused' in chosen ? null : chosen;
  const where =
    'refused' in chosen
      ? finding('place', 'fail', chosen.refused, chosen.fix)
      : finding('place', chosen.kind === 'folder' ? 'warn' : 'ok', chosen.because);
  return {
    place,
    checks: [
      ...machine(facts),
      ...image(facts, needs),
      ...memory(facts, needs),
      where,
      ports(facts, needs),
      ...guards(facts),
      ...others(facts),
    ],
  };
}

function machine({ root, engine }: DeployFacts): Finding[] {
  const checks: Finding[] = [];
  if (!root)
    checks.push(
      finding(
        'machine',
        'fail',
        'the agent does not run as root, which mounts the data and guards the container need',
        asRootService(),
      ),
    );
  if ('problem' in engine) return [...checks, finding('engine', 'fail', engine.problem, engine.fix)];
  const { version, apiVersion, architecture, isLocal } = engine;
  if (!isLocal)
    checks.push(
      finding(
        'engine',
        'fail',
        'the engine is not of this machine: what it runs cannot be guarded here',
        'name the one here: --docker-host unix:///var/run/docker.sock',
      ),
    );
  // An older one says no number that is less than all: "unknown" is too old as well.
  if (!(apiVersion >= leastApi))
    checks.push(
      finding(
        'engine',
        'fail',
        `Docker ${version} is too old: 20.10 is the least`,
        'install a newer one: https://docs.docker.com/engine/install',
      ),
    );
  return checks.length > 0 ? checks : [finding('machine', 'ok', `${architecture}, agent as root, Docker ${version}`)];
}

function image(
  { engine, image: { state, architectures: kinds, problem } }: DeployFacts,
  needs: DeployNeeds,
): Finding[] {
  if ('problem' in engine) return [];
  const name = needs.image;
  if (kinds.length > 0 && !kinds.includes(engine.architecture))
    return [
      finding(
        'image',
        'fail',
        `${name} is for ${kinds.join(', ')}, and this machine is ${engine.architecture}`,
        'name an image for this kind of machine (--image IMAGE), or another machine: --on NAME',
      ),
    ];
  switch (state) {
    case 'here':
      return [finding('image', 'ok', `${name}, which is here`)];
    case 'pullable':
      return [finding('image', 'ok', `${name}, to be pulled`)];
    case 'missing':
      return [
        finding('image', 'fail', `${name} cannot be had: ${problem ?? 'no reason was given'}`, `docker pull ${name}`),
      ];
    case 'unknown':
      return [
        finding(
          'image',
          'warn',
          `${name} is not here, and its registry gave no answer${problem === null ? '' : `: ${problem}`}`,
          `docker pull ${name}`,
        ),
      ];
  }
}

function memory({ totalMemoryBytes: total, availableMemoryBytes: free }: DeployFacts, needs: DeployNeeds): Finding[] {
  const { preset, leastMemoryBytes: least } = needs;
  const smaller = preset === 'minimal' ? '' : 'a smaller one (--preset minimal), or ';
  if (total < least)
    return [
      finding(
        'memory',
        'fail',
        `this machine has ${showBytes(total)}, and preset ${preset} needs ${showBytes(least)}`,
        `choose ${smaller}another machine: --on NAME`,
      ),
    ];
  const said = `${showBytes(free)} free; preset ${preset} takes ${showBytes(least)}`;
  if (free >= least) return [finding('memory', 'ok', said)];
  return [
    finding(
      'memory',
      'warn',
      `${said}: what runs here now would be swapped out`,
      'look who has it: ps aux --sort=-rss | head',
    ),
  ];
}

function ports({ taken }: DeployFacts, { port, sshPort, httpPort }: DeployNeeds): Finding {
  if (port === sshPort)
    return finding('ports', 'fail', `pages and ssh cannot both have port ${port}`, 'choose another: --ssh-port N');
  if (httpPort !== undefined && (httpPort === port || httpPort === sshPort))
    return finding(
      'ports',
      'fail',
      `http would be led away from port ${httpPort}, which is taken by GitLab itself`,
      'choose another: --http-port N',
    );
  const [first] = taken;
  const flag = first?.port === port ? '--port' : first?.port === httpPort ? '--http-port' : '--ssh-port';
  if (first)
    return finding(
      'ports',
      'fail',
      `port ${first.port} is taken by ${first.by}`,
      `choose another, or end it: ${flag} N`,
    );
  return finding(
    'ports',
    'ok',
    `${port} (pages)${sshPort === null ? '' : `, ${sshPort} (ssh)`}${httpPort === undefined ? '' : `, ${httpPort} (leads to https)`}`,
  );
}

function guards({ root, hasNft, hasFreezer }: DeployFacts): Finding[] {
  // Without root neither could be looked at.
  if (!root) return [];
  const checks: Finding[] = [];
  if (!hasNft)
    checks.push(
      finding(
        'guard',
        'fail',
        'nft does not work here: nothing would keep others from the container behind its gate',
        'sudo apt-get install nftables',
      ),
    );
  if (!hasFreezer)
    checks.push(
      finding(
        'freezer',
        'fail',
        'this machine lets nothing be frozen by control groups: GitLab could not be stopped in time',
        'look at the mounts of cgroup: findmnt -t cgroup,cgroup2',
      ),
    );
  return checks;
}

/** Somebody's own GitLab on that machine is no obstacle, but perhaps what was meant. */
const others = ({ gitlabs }: DeployFacts): Finding[] =>
  gitlabs
    .filter(({ isRunning }) => isRunning)
    .map(({ container, version, url }) =>
      finding(
        'gitlab',
        'warn',
        `GitLab${version === null ? '' : ` ${version}`} runs here already, ${container === null ? 'as a package' : `in container ${container}`}: the new one is another, and empty`,
        container === null
          ? `connect that one instead: autogit-node gitlab connect ${url ?? 'URL'} --token-env VAR`
          : `have the mesh run that one instead: autogit-node gitlab adopt ${container}`,
      ),
    );

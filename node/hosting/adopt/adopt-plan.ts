import type { DeployCheck } from '../../../protocol/asks.ts';
import { GitlabImageName } from '../../../protocol/hosted-upgrade.ts';
import type { OmnibusContainer } from '../../machine/omnibus-containers.ts';
import { showBytes, showDuration } from '../../settings/quantities.ts';
import { checkOf } from '../deploy-check.ts';
import type { FolderToCopy } from './copied-folders.ts';

/** What the engine says of that container beside what `OmnibusContainer` has. */
export interface ContainerDetails {
  imageId: string;
  /** What the engine has under the image's name now; null where it has none any more. */
  namedImageId: string | null;
  /** Published ports of TCP. */
  ports: readonly { inside: number; outside: number; isLocalOnly: boolean }[];
  /** It has this machine's network. */
  isHostNetwork: boolean;
  isRemovedAtStop: boolean;
  /** The project of docker compose that made it. */
  composeProject: string | null;
  isOfSwarm: boolean;
  isPodman: boolean;
  /** Folders in it that lie in volumes without a name: they go with `docker rm -v`. */
  anonymous: readonly string[];
  /** Folders in it that lie in volumes which the engine mounts only while it runs: they are empty once it is stopped. */
  fleeting: readonly string[];
}

/** Of its configuration, what counts for who reaches it. */
export interface AdoptedConfig {
  externalUrl: string | null;
  /** The last that is said; null: nothing. */
  listensHttps: boolean | null;
}

export interface AdoptFacts {
  container: Omit<OmnibusContainer, 'id' | 'mounts' | 'backupPath'>;
  details: ContainerDetails;
  config: AdoptedConfig;
  /** In the order in which they are copied; a mount below another one comes after it. */
  folders: readonly FolderToCopy[];
  /** What is mounted into it beside those: files and folders that the mesh's container will not have. */
  besides: readonly string[];
  /** A link on this machine that leads out of what is copied. */
  link: string | null;
  /** Where its data shall lie, and which of those folders that is in, whatever links lead to either. */
  place: string;
  placeIn: string | null;
  /** Names of variables that it was started with, beside its image's and the one that holds its configuration. */
  environment: readonly string[];
  /** Null where it was not counted in time. */
  dataBytes: number | null;
  /** All that is used where they lie. */
  mostBytes: number;
  /** Copies there share the disk's blocks with what is copied (reflink). */
  isShared: boolean;
}

interface Planned {
  port: number;
  sshPort: number | null;
  /** Until GitLab serves again, as far as can be told; null: not known. */
  awayMs: number | null;
  /** What the place has to have free for the copy. */
  needBytes: number;
}

interface AdoptPlan {
  checks: DeployCheck[];
  /** Null where something speaks against it. */
  planned: Planned | null;
}

/** What a home's disk copies of many small files, and how long GitLab takes to come up. */
const bytesPerS = 100 * 2 ** 20;
const bootMs = 240_000;
const sharedMs = 20_000;
const spare = 1.1;

type Line = DeployCheck;

/** Whether that container can become the mesh's GitLab, what is done for it, and how long GitLab is away. Pure. */
export function adoptPlan(facts: AdoptFacts): AdoptPlan {
  const { details, dataBytes, mostBytes, isShared } = facts;
  const port = webPort(facts);
  const checks = [
    containerLine(facts),
    ...startedBy(facts),
    ...imageLines(facts),
    ...portLines(facts),
    ...configLines(facts),
    ...folderLines(facts),
  ];
  if (port === null || checks.some(({ state }) => state === 'fail')) return { checks, planned: null };
  const copyMs = isShared ? sharedMs : dataBytes === null ? null : (dataBytes / bytesPerS) * 1000;
  const awayMs = copyMs === null ? null : copyMs + bootMs;
  // Whole ones: a part of a byte no image is made of. GitLab is not stopped for a copy that may not fit.
  const needBytes = isShared ? 0 : dataBytes === null ? mostBytes : Math.ceil(dataBytes * spare);
  const ssh = details.ports.find(({ inside }) => inside === 22);
  return {
    checks: [...checks, copyLine(facts, awayMs)],
    planned: { port, sshPort: ssh?.outside ?? null, awayMs, needBytes },
  };
}

/** As published of the container: the port that its address names, at which its nginx listens then, else 80. */
function webPort({ details: { ports }, config: { externalUrl } }: AdoptFacts): number | null {
  const named = externalUrl?.startsWith('http:') ? Number(new URL(externalUrl).port) : 0;
  return (ports.find(({ inside }) => inside === named) ?? ports.find(({ inside }) => inside === 80))?.outside ?? null;
}

function containerLine({ container, details }: AdoptFacts): Line {
  const { name, image, isRunning, status } = container;
  if (details.isRemovedAtStop)
    return checkOf(
      'fail',
      'container',
      `${name} was started with --rm: the engine deletes it as soon as it stops, and there would be no way back`,
      'start it without --rm, then this again',
    );
  return checkOf(
    isRunning ? 'ok' : 'warn',
    'container',
    `${name} (${image}) ${isRunning ? 'runs' : `is ${status}: it was not seen to work`}`,
  );
}

/** Whoever started it may start it again. */
function startedBy({ container: { name }, details }: AdoptFacts): Line[] {
  if (details.isPodman)
    return [
      checkOf(
        'fail',
        'engine',
        'the engine is podman, by which the mesh runs no GitLab',
        'use Docker Engine, 20.10 or newer',
      ),
    ];
  if (details.isOfSwarm)
    return [
      checkOf(
        'fail',
        'container',
        `${name} is of a service of Docker Swarm, which would start it anew at once`,
        'start GitLab as a plain container with the same volumes, and remove the service; then this again',
      ),
    ];
  if (details.composeProject === null) return [];
  return [
    checkOf(
      'warn',
      'compose',
      `it was made by docker compose (project ${details.composeProject}), whose up must not start it again`,
      'take the service out of that file once GitLab serves, and never docker compose down -v',
    ),
  ];
}

function imageLines({ container: { image }, details }: AdoptFacts): Line[] {
  const tag = /:(\d+\.\d+\.\d+)[\w.-]*$/.exec(image)?.[1] ?? null;
  const id = details.imageId.replace(/^sha256:/, '').slice(0, 12);
  if (!GitlabImageName.safeParse(image).success)
    return [
      checkOf(
        'fail',
        'image',
        `${image} is no name by which the mesh can start an image`,
        'start the container by a tag with its version, as gitlab/gitlab-ce:19.4.1-ce.0; then this again',
      ),
    ];
  if (details.namedImageId === null || details.namedImageId !== details.imageId)
    return [
      checkOf(
        'fail',
        'image',
        details.namedImageId === null
          ? `the engine has no image ${image} any more, only ${id}, with which it was started`
          : `${image} is another image by now than ${id}, with which it was started: GitLab takes data of exactly its own version`,
        'start the container with the image and the version that its data are of; then this again',
      ),
    ];
  if (tag !== null) return [];
  return [
    checkOf(
      'warn',
      'version',
      `${image} names no version: another machine that pulls it may get another GitLab`,
      'start the container by a tag with its version, as gitlab/gitlab-ce:19.4.1-ce.0',
    ),
  ];
}

function portLines(facts: AdoptFacts): Line[] {
  const { details, container } = facts;
  const { name } = container;
  const port = webPort(facts);
  if (details.isHostNetwork)
    return [
      checkOf(
        'fail',
        'ports',
        `${name} has this machine's own network, and what it listens on is not known`,
        'start it with published ports, as with: docker run -p 8929:80 -p 2424:22',
      ),
    ];
  if (port === null)
    return [
      checkOf(
        'fail',
        'ports',
        details.ports.some(({ inside }) => inside === 443)
          ? `${name} publishes https alone, and it is taken over by http`
          : `${name} publishes no port of its web pages`,
        "publish its http, as with: docker run -p 8929:80; https is its gate's, once it is the mesh's (docs/host-gitlab.md)",
      ),
    ];
  const ssh = details.ports.find(({ inside }) => inside === 22)?.outside;
  const lines = [
    checkOf(
      'ok',
      'ports',
      `${port} (pages)${ssh === undefined ? ', no ssh' : `, ${ssh} (ssh)`}, as now; they become the gate's`,
    ),
  ];
  const more = details.ports.find(({ inside, outside }) => outside !== port && inside !== 22 && inside !== 443);
  if (more !== undefined)
    lines.push(
      checkOf(
        'warn',
        'ports',
        `port ${more.outside} is published too (a registry, pages?); the gate has those of pages and ssh only`,
      ),
    );
  if (details.ports.some(({ outside, isLocalOnly }) => outside === port && isLocalOnly))
    lines.push(
      checkOf(
        'warn',
        'ports',
        `port ${port} is published for this machine alone; the mesh's gate listens for the whole LAN`,
      ),
    );
  return lines;
}

function configLines({ container, config, details, environment }: AdoptFacts): Line[] {
  const { externalUrl, listensHttps } = config;
  const lines: Line[] = [];
  const isHttps = externalUrl?.startsWith('https:') === true;
  if (isHttps && listensHttps !== false && details.ports.some(({ inside }) => inside === 443))
    lines.push(
      checkOf(
        'fail',
        'https',
        `its own nginx has the certificate of ${externalUrl}, and it is taken over by http`,
        "nginx['listen_https'] = false into gitlab.rb; then this again, and https by its gate once it is the mesh's (docs/host-gitlab.md)",
      ),
    );
  else if (isHttps)
    lines.push(
      checkOf('ok', 'address', `its pages go on naming ${externalUrl}; the proxy before it goes on to its port`),
    );
  else if (externalUrl !== null) lines.push(checkOf('ok', 'address', `its pages go on naming ${externalUrl}`));
  if (container.hasOtherDatabase)
    lines.push(
      checkOf(
        'fail',
        'database',
        "its database is another container's or machine's (postgresql['enable'] = false), which the mesh's container does not reach",
        'bring the database into its own PostgreSQL first, by gitlab-backup',
      ),
    );
  if (container.dataElsewhere.length > 0)
    lines.push(
      checkOf(
        'fail',
        'data',
        `its gitlab.rb keeps data in ${container.dataElsewhere[0]}, which is not below /var/opt/gitlab`,
        'move them below /var/opt/gitlab first',
      ),
    );
  if (environment.length > 0)
    lines.push(
      checkOf(
        'warn',
        'environment',
        `${environment.slice(0, 8).join(', ')}${environment.length > 8 ? ` and ${environment.length - 8} more` : ''}: set for its container, and not for the mesh's`,
        "what GitLab needs of it belongs into gitlab.rb, as in gitlab_rails['env'] = { 'HTTPS_PROXY' => 'http://proxy:3128' }",
      ),
    );
  if (container.hasObjectStorage)
    lines.push(
      checkOf('warn', 'objects', 'what lies in its object storage stays there, and is in no copy and no backup'),
    );
  return lines;
}

function folderLines({ container: { name }, folders, besides, link, details, place, placeIn }: AdoptFacts): Line[] {
  const lacks = ['/etc/gitlab', '/var/opt/gitlab'].find((inside) => !folders.some((one) => one.inside === inside));
  if (lacks !== undefined)
    return [
      checkOf(
        'fail',
        'data',
        `${name} has no folder or volume of this machine at ${lacks}: what is in the container alone is not taken`,
        'give it volumes, as GitLab says for Docker; then again',
      ),
    ];
  const lines = [checkOf('ok', 'data', folders.map(({ outside }) => outside).join(', '))];
  if (link !== null)
    lines.push(
      checkOf(
        'fail',
        'data',
        `${link} is a link, and what it leads to would not be in the copy`,
        'mount that folder there instead, then this again',
      ),
    );
  if (placeIn !== null)
    lines.push(
      checkOf(
        'fail',
        'data',
        `${place} lies in ${placeIn}, of which it shall be the copy`,
        'name a folder beside it: --data DIR',
      ),
    );
  const [fleeting] = details.fleeting;
  if (fleeting !== undefined)
    lines.push(
      checkOf(
        'fail',
        'volumes',
        `${fleeting} lies in a volume with a driver or options of its own, which the engine unmounts when ${name} stops: there would be nothing to copy`,
        'start the container with what that volume leads to as a folder, as with: docker run -v /srv/gitlab/data:/var/opt/gitlab',
      ),
    );
  const [anonymous] = details.anonymous;
  if (anonymous !== undefined)
    lines.push(
      checkOf(
        'warn',
        'volumes',
        `${anonymous} lies in a volume without a name, which goes with its container`,
        'remove that container only once GitLab has served for long enough',
      ),
    );
  if (besides.length > 0)
    lines.push(
      checkOf(
        'warn',
        'mounts',
        `${besides.join(', ')}: mounted into it, and not into the mesh's container`,
        'what GitLab needs of it belongs below /etc/gitlab',
      ),
    );
  return lines;
}

function copyLine({ dataBytes, mostBytes, isShared, folders }: AdoptFacts, awayMs: number | null): Line {
  const size = dataBytes === null ? 'it was not counted in time how much' : showBytes(dataBytes);
  if (awayMs === null)
    return checkOf(
      'warn',
      'copy',
      `${size} is to be copied while GitLab is away: for how long is not known, and there has to be room for all that its disk holds, ${showBytes(mostBytes)}`,
      `count it, and at once this again, which is faster then: du -sh ${folders.map(({ outside }) => outside).join(' ')}`,
    );
  const how = isShared ? 'shared with it on the same disk, in a moment' : `about ${showDuration(awayMs - bootMs)}`;
  return checkOf(
    'ok',
    'copy',
    `${size}, ${how}, while GitLab is stopped; with its start it is away for about ${showDuration(awayMs)}`,
  );
}

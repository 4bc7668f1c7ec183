import type { Change } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { localNameOf } from '../../protocol/names.ts';
import { whichVoterIsOlder, whoIsOlder, withoutGitlab } from '../disconnecting.ts';
import type { LedgerEdit, Refusal } from '../ledger-edit.ts';
import { tokenIsNew } from '../membership-secrets.ts';
import { listed } from '../phrases.ts';
import { unseenIn } from '../recovered.ts';
import { firstCopies, whyNoCopies } from './copies-set.ts';
import { epochFollowing } from './epochs.ts';
import { leavingSides, sidesOfLeft } from './sides.ts';

/*
 * The mesh's own GitLab in the ledger. Life: deployed (host and epoch, no address yet) -> stands -> `ending` (jobs and
 * runners are settled as for a disconnection) -> `drained` (the leader renews no lease any more, the host closes its gate)
 * -> ended: said by the host, or by the leader when the host was removed and its last lease is surely out (SAFETY H7).
 */

export interface Hosting extends HostedGitlab {
  host: NodeId;
  epoch: number;
}

/** A ledger never changes, and each step asks several times: what was made of which parts of it. */
const hostings = new WeakMap<Ledger['gitlab'], { of: HostedGitlab; made: Hosting }>();

/** The GitLab that the mesh hosts, or shall host; null where there is none. One ledger's is one object. */
export function hostingOf(ledger: Ledger | null): Readonly<Hosting> | null {
  if (ledger === null) return null;
  const { mode, host, epoch, hosted } = ledger.gitlab;
  if (mode !== 'hosted' || host === null || hosted === undefined) return null;
  const known = hostings.get(ledger.gitlab);
  if (known?.of === hosted && known.made.host === host && known.made.epoch === epoch) return known.made;
  const made = { ...hosted, host, epoch };
  hostings.set(ledger.gitlab, { of: hosted, made });
  return made;
}

/** Of a GitLab that the mesh hosts, or shall. */
export interface HostedAddress {
  hostname: string;
  ipv6?: string | undefined;
  port: number;
  /** Absent: http. */
  https?: unknown;
}

export function hostedUrl({ hostname, ipv6, port, https }: HostedAddress): string {
  const [scheme, usual] = https === undefined ? ['http', 80] : ['https', 443];
  return `${scheme}://${ipv6 === undefined ? hostname : `[${ipv6}]`}${port === usual ? '' : `:${port}`}`;
}

/** As the mesh chose it, an address is that of the machine that hosts: a name is the owner's, and leads to wherever he lets it. */
export const isByAddress = ({ hostname, ipv6 }: Pick<HostedAddress, 'hostname' | 'ipv6'>): boolean =>
  ipv6 !== undefined || /^\d{1,3}(\.\d{1,3}){3}$/.test(hostname);

/** Its address is the mesh's own name, to which whichever machine runs it answers. */
export function isByMeshName(ledger: Ledger | null): boolean {
  const hosting = hostingOf(ledger);
  return (
    ledger !== null &&
    hosting !== null &&
    !isByAddress(hosting) &&
    hosting.hostname.toLowerCase() === localNameOf(ledger.mesh.name)
  );
}

/** By which a GitLab is reached that is deployed now, where a person named nothing. */
interface Reachable {
  /** Of the machine that runs it. */
  address: string;
  ipv6?: string | undefined;
  /** The mesh's own name, where that machine would answer to it. */
  name?: string | undefined;
  /** Its data were deployed before: its links lead to an address. */
  isKnown: boolean;
}

/**
 * The mesh's own name, as it leads to wherever GitLab moves, where each machine of the mesh finds it by itself; else the machine's address. What
 * a person named stays as it is.
 */
export function addressAtFirst(
  { nodes }: Pick<Ledger, 'nodes'>,
  wish: { hostname: string | null; ipv6?: string | undefined },
  { address, ipv6: found, name, isKnown }: Reachable,
): Pick<HostedAddress, 'hostname' | 'ipv6'> {
  const isNamed = wish.hostname !== null || wish.ipv6 !== undefined;
  const ipv6 = isNamed ? wish.ipv6 : found;
  const isOld = whoIsOlder(nodes, Object.keys(nodes), 'forward', 'does not find that name') !== null;
  const own = isNamed || isKnown || isOld || ipv6 !== undefined ? undefined : name;
  return { hostname: wish.hostname ?? own ?? address, ...(ipv6 !== undefined && { ipv6 }) };
}

/**
 * Its address where it moves to: a name stays. What is reached by IPv6 alone has only itself under the other one.
 */
export function addressThere(hosting: HostedAddress, there: Pick<HostedAddress, 'hostname' | 'ipv6'>) {
  if (!isByAddress(hosting)) return { hostname: hosting.hostname };
  const { hostname, ipv6 } = there;
  const isByIpv6 = ipv6 !== undefined && (hosting.ipv6 !== undefined || hostname.startsWith('127.'));
  return { hostname, ...(isByIpv6 && { ipv6 }) };
}

const endsByItself = 'autogit-node gitlab uninstall';

/** Why no GitLab can be deployed on `host` now; null when nothing in the ledger speaks against it. */
export function whyNotDeploy(ledger: Ledger, host: NodeId): string | null {
  const { gitlab, nodes } = ledger;
  const name = (node: NodeId): string => nodes[node]?.name ?? node;
  if (gitlab.mode === 'hosted' && gitlab.hosted?.ending)
    return `the GitLab on ${name(gitlab.host ?? '')} is being uninstalled, and another one can follow it once it is gone; how far that is: autogit-node gitlab`;
  if (gitlab.mode === 'hosted')
    return `this mesh hosts a GitLab already, on ${name(gitlab.host ?? '')}: ${endsByItself} first`;
  if (gitlab.mode === 'connected')
    return `this mesh is connected to GitLab at ${gitlab.url}: autogit-node gitlab disconnect first`;
  const node = nodes[host];
  if (!node) return `${host} is no machine of this mesh`;
  if (node.left) return `${node.name} is away: start its agent first`;
  if (node.drained) return `${node.name} is drained: autogit-node undrain ${node.name} first`;
  // One of the former era may have deployed a GitLab that this ledger never heard of, under this very epoch.
  const unseen = unseenIn(ledger);
  if (unseen.length > 0)
    return `${listed(unseen.map(name))} did not come over since this mesh was recovered, and may run a GitLab of it: start it, or autogit-node forget it first`;
  return whoCannotHost(ledger, host);
}

/** What a person may leave to the machine that shall host is null: of an address, both. */
interface Wished extends Pick<HostedGitlab, 'image' | 'preset' | 'port' | 'sshPort' | 'httpPort'> {
  hostname: string | null;
  ipv6?: string | undefined;
  folder: string | null;
  isHttps: boolean;
}

/** The mesh runs that very GitLab, or is about to: whoever did not hear the answer to a deployment asks for it again. */
export function isDeployed(ledger: Ledger, host: NodeId, wish: Wished): boolean {
  const known = hostingOf(ledger);
  if (known?.host !== host || known.ending) return false;
  const { hostname, place, ipv6 } = known;
  const isAnywhere = wish.hostname === null && wish.ipv6 === undefined;
  return (
    (['image', 'preset', 'port', 'sshPort', 'httpPort'] as const).every((key) => known[key] === wish[key]) &&
    (isAnywhere || (wish.ipv6 === ipv6 && (wish.hostname ?? hostname) === hostname)) &&
    (wish.folder ?? place.path) === place.path &&
    wish.isHttps === (known.https !== undefined)
  );
}

/** Null when all who serve it or name its address know of https and IPv6, where it has to do with them. */
export const whyNoAddress = (
  ledger: Ledger,
  host: NodeId,
  { https, ipv6 }: { https?: unknown; ipv6?: string | undefined },
): string | null =>
  (https === undefined ? null : whichVoterIsOlder(ledger, [host], 'https', 'knows GitLab by http only')) ??
  (ipv6 === undefined ? null : whichVoterIsOlder(ledger, [host], 'ipv6', 'knows GitLab by no address of IPv6'));

/** Any voter may have to renew its lease. */
const whoCannotHost = (ledger: Ledger, host: NodeId | null): string | null =>
  whichVoterIsOlder(ledger, host === null ? [] : [host], 'hosting', 'knows nothing of a GitLab that the mesh hosts');

/** A voter of before, as leader, would begin with an epoch below that of the data, and nothing would be served. */
export const whyNotAbove = (ledger: Ledger, host: NodeId): string | null =>
  whichVoterIsOlder(ledger, [host], 'adopt-data', 'knows no data of another mesh');

export function deploy(ledger: Ledger, change: Change & { kind: 'deploy-gitlab' }, wallMs: number): Ledger | Refusal {
  const { host, hosted, agreed = [], above = 0, because } = change;
  const known = hostingOf(ledger);
  if (known?.data === hosted.data && known.host === host && !known.ending) return ledger;
  if (isDeployed(ledger, host, { ...hosted, folder: hosted.place.path, isHttps: hosted.https !== undefined }))
    return ledger;
  const refused =
    whyNotDeploy(ledger, host) ??
    whyNoAddress(ledger, host, hosted) ??
    (above > 0 ? whyNotAbove(ledger, host) : null) ??
    (agreed.length > 0 ? whyNoCopies(ledger, host, agreed) : null);
  if (refused !== null) return { refused };
  const { leaving: _void, ...before } = ledger.gitlab;
  const gitlab = {
    ...before,
    mode: 'hosted' as const,
    url: null,
    token: null,
    instance: null,
    host,
    epoch: epochFollowing(Math.max(before.epoch, above), ledger),
    hosted: {
      ...hosted,
      ...(agreed.length > 0 ? { copies: firstCopies(agreed) } : {}),
      ...{ since: wallMs, because },
      // Data of before are what they were: who uninstalls and deploys them again has looked at nothing.
      ...sidesOfLeft(before, hosted.data),
    },
  };
  return { ...ledger, classes: {}, gitlab };
}

/** What a host says of a GitLab that is not the ledger's any more is void. */
export function whyNotOf(ledger: Ledger, { data, epoch }: { data: string; epoch: number }): string | null {
  const hosting = hostingOf(ledger);
  if (hosting === null) return 'this mesh hosts no GitLab';
  if (hosting.data !== data || hosting.epoch !== epoch)
    return `the mesh hosts its GitLab of epoch ${hosting.epoch} (${hosting.data}), and this is said of epoch ${epoch} (${data})`;
  return null;
}

export function stands(ledger: Ledger, change: Change & { kind: 'gitlab-stands' }): Ledger | Refusal {
  const refused = whyNotOf(ledger, change);
  if (refused !== null) return { refused };
  const { url, token, instance } = change;
  const { gitlab } = ledger;
  if (gitlab.url === url && gitlab.token === token && gitlab.instance === instance) return ledger;
  return { ...ledger, gitlab: { ...gitlab, url, token, instance }, ...tokenIsNew(ledger) };
}

/** Of http it becomes no https so: the address of a GitLab that stands is one. */
export function newCertificate(
  ledger: Ledger,
  { data, https }: Change & { kind: 'gitlab-certificate' },
  wallMs: number,
): Ledger | Refusal {
  const { gitlab } = ledger;
  const known = gitlab.mode === 'hosted' && gitlab.hosted?.data === data ? gitlab.hosted : undefined;
  if (known === undefined) return { refused: 'this mesh hosts no GitLab of those data' };
  if (known.https === undefined) return { refused: 'that GitLab is served by http, which needs no certificate' };
  const refused = whyNoAddress(ledger, gitlab.host ?? '', known);
  if (refused !== null) return { refused };
  // Sealed once more it is the same.
  if (known.https.mark === https.mark && known.https.ca === https.ca) return ledger;
  return { ...ledger, gitlab: { ...gitlab, hosted: { ...known, https: { ...https, since: wallMs } } } };
}

/** Asked again, it may become more urgent, never less; what is deleted is decided until it is drained. */
export function uninstall(
  ledger: Ledger,
  change: Change & { kind: 'uninstall-gitlab' },
  wallMs: number,
): Ledger | Refusal {
  const { gitlab } = ledger;
  if (gitlab.mode === 'connected')
    return { refused: `GitLab at ${gitlab.url} is not the mesh's own: autogit-node gitlab disconnect` };
  if (gitlab.mode === 'none' || gitlab.hosted === undefined) return ledger;
  const refused = whoCannotHost(ledger, null);
  if (refused !== null) return { refused };
  if (change.epoch !== undefined && change.epoch !== gitlab.epoch)
    return {
      refused: `the GitLab that was to end is gone, and the mesh hosts another by now, on ${ledger.nodes[gitlab.host ?? '']?.name ?? gitlab.host}: ask again if that shall end`,
    };
  const known = gitlab.hosted.ending;
  if (known?.drained && change.deleteData !== known.deleteData)
    return { refused: 'it is being taken down in this moment: what becomes of its data was decided' };
  const ending = {
    ...known,
    since: known?.since ?? wallMs,
    deleteData: change.deleteData,
    now: change.now === true || known?.now === true,
    force: change.force === true || known?.force === true,
    drained: known?.drained === true,
  };
  const isSame =
    known !== undefined &&
    known.deleteData === ending.deleteData &&
    known.now === ending.now &&
    known.force === ending.force;
  return isSame ? ledger : { ...ledger, gitlab: { ...gitlab, hosted: { ...gitlab.hosted, ending } } };
}

/** Jobs and runners are settled: from here on no lease is renewed. */
export const hostingDrained = (data: string, because: string): LedgerEdit => ({
  name: 'gitlab-drained',
  because,
  apply(ledger) {
    const { hosted } = ledger.gitlab;
    if (hosted?.data !== data || !hosted.ending || hosted.ending.drained) return ledger;
    return {
      ...ledger,
      gitlab: { ...ledger.gitlab, hosted: { ...hosted, ending: { ...hosted.ending, drained: true } } },
    };
  },
});

export function ended(ledger: Ledger, change: Change & { kind: 'gitlab-ended' }, wallMs: number): Ledger | Refusal {
  const { hosted, epoch, mode } = ledger.gitlab;
  // Said twice: what it says is so.
  if (mode === 'none' && epoch >= change.epoch) return ledger;
  const refused = whyNotOf(ledger, change);
  if (refused !== null) return { refused };
  if (!hosted?.ending?.drained) return { refused: 'nobody uninstalled it, or jobs and runners are not settled yet' };
  return withoutHosting(ledger, wallMs);
}

/** The leader's own word, where the host was removed from the mesh and cannot say it. */
export const hostingGone = (data: string, wallMs: number): LedgerEdit => ({
  name: 'gitlab-ended',
  because: 'its host was removed from the mesh, and its last lease is surely out',
  apply: (ledger) => {
    const hosting = hostingOf(ledger);
    const isMeant = hosting?.data === data && hosting.ending?.drained === true;
    return isMeant && !Object.hasOwn(ledger.nodes, hosting.host) ? withoutHosting(ledger, wallMs) : ledger;
  },
});

/** The epoch stays: the next GitLab of this mesh has a higher one. */
function withoutHosting(ledger: Ledger, wallMs: number): Ledger {
  const { host, hosted } = ledger.gitlab;
  const name = ledger.nodes[host ?? '']?.name ?? 'a machine that was removed';
  const data = hosted?.ending?.deleteData ? 'with its data' : `its data stays there: ${hosted?.place.path}`;
  const after = withoutGitlab(ledger, `GitLab on ${name} was uninstalled, ${data}`, wallMs);
  const { hosted: _gone, leftSides: _before, ...gitlab } = after.gitlab;
  return { ...after, gitlab: { ...gitlab, host: null, ...leavingSides(ledger) } };
}

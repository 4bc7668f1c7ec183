import { accessSync, constants, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { findProgram } from '../clean-spawn.ts';
import { diskOf } from '../disk-use.ts';
import { makeRunCgroup, removeCgroup } from '../executors/run-cgroup.ts';
import { shown } from '../foreign-text.ts';
import { askEngine, canAsk, dockerAddress, imagePath } from '../machine/docker-ask.ts';
import { findGitlabHere, type GitlabHere } from '../machine/gitlab-here.ts';
import { memory } from '../machine/memory.ts';
import { mountOver } from './mount-table.ts';
import { type PlaceFacts, placePrograms } from './place-choice.ts';
import { contentOf, readClaim } from './place-records.ts';
import { existingAt, realFolder } from './place-tree.ts';
import { type PortTaken, portsTaken } from './ports-taken.ts';
import { systemTools, toolEnv } from './system-tools.ts';

/** `architecture`: as images call it, `amd64`. */
interface EngineFacts {
  version: string;
  apiVersion: number;
  architecture: string;
  /** Its containers are processes of this machine. */
  isLocal: boolean;
}

export interface ImageFacts {
  /** `unknown`: the registry was not asked, or gave no answer in time. */
  state: 'here' | 'pullable' | 'missing' | 'unknown';
  /** For which it is; empty where that is not known. */
  architectures: string[];
  /** Why it cannot be had, in the engine's words. */
  problem: string | null;
}

/** What a machine is and has that shall run GitLab, looked at just now; nothing is changed by it. */
export interface DeployFacts {
  root: boolean;
  engine: EngineFacts | { problem: string; fix: string };
  image: ImageFacts;
  totalMemoryBytes: number;
  availableMemoryBytes: number;
  taken: PortTaken[];
  /** Rules of nftables can be read and made. */
  hasNft: boolean;
  /** Processes can be frozen by their control group (SAFETY H3). */
  hasFreezer: boolean;
  gitlabs: Pick<GitlabHere, 'container' | 'version' | 'isRunning' | 'url'>[];
  place: PlaceFacts | { problem: string; fix: string };
}

interface FactsWanted {
  image: string;
  port: number;
  sshPort: number | null;
  httpPort?: number | undefined;
  /** Null: in the agent's home. */
  data: string | null;
}

interface FactsSources {
  home: string;
  /** The mesh's id. */
  mesh: string;
  dockerHost: string | null;
}

export async function deployFacts(wanted: FactsWanted, { home, mesh, dockerHost }: FactsSources): Promise<DeployFacts> {
  const ports = [wanted.port, wanted.sshPort, wanted.httpPort].filter((one) => one != null);
  const { total, available } = await memory();
  const engine = await engineFacts(dockerHost);
  const isThere = 'version' in engine;
  return {
    root: process.getuid?.() === 0,
    engine,
    image: isThere
      ? await imageFacts(dockerHost, wanted.image)
      : { state: 'unknown', architectures: [], problem: null },
    totalMemoryBytes: total,
    availableMemoryBytes: available,
    taken: [...portsTaken(ports), ...(isThere ? await portsPublished(dockerHost, ports) : [])],
    hasNft: await hasNft(),
    hasFreezer: await hasFreezer(),
    gitlabs: await findGitlabHere(dockerHost),
    place: placeFacts(wanted.data ?? join(home, 'gitlab'), mesh),
  };
}

const Version = z.object({ Version: z.string(), ApiVersion: z.string(), Arch: z.string() });
const startEngine = 'start it, or install one (https://docs.docker.com/engine/install): sudo systemctl start docker';

export async function engineFacts(dockerHost: string | null): Promise<DeployFacts['engine']> {
  const address = dockerAddress(dockerHost);
  if (address === null) return { problem: 'there is no Docker Engine here', fix: startEngine };
  if (!canAsk(address))
    return {
      problem: `the engine at ${address} is not of this machine`,
      fix: 'name the one here: --docker-host unix:///var/run/docker.sock',
    };
  try {
    const { Version: version, ApiVersion, Arch } = Version.parse(await askEngine(address, '/version'));
    const isLocal = address.startsWith('unix:');
    return { version: shown(version).slice(0, 32), apiVersion: Number(ApiVersion), architecture: shown(Arch), isLocal };
  } catch (error) {
    return { problem: `the engine at ${address} does not answer: ${sentenceOf(error)}`, fix: startEngine };
  }
}

const Image = z.object({ Architecture: z.string() });
const Offered = z.object({ Platforms: z.array(z.looseObject({ architecture: z.string() })) });
const Failure = z.object({ message: z.string() });

export async function imageFacts(dockerHost: string | null, name: string): Promise<ImageFacts> {
  const address = dockerAddress(dockerHost) as string;
  const path = imagePath(name);
  try {
    const here = Image.safeParse(await askEngine(address, `/images/${path}/json`));
    if (here.success) return { state: 'here', architectures: [here.data.Architecture], problem: null };
    const answer = await askEngine(address, `/distribution/${path}/json`);
    const offered = Offered.safeParse(answer);
    if (offered.success) {
      const architectures = [...new Set(offered.data.Platforms.map(({ architecture }) => architecture))];
      // A list of all kinds has entries for what is no machine, such as attestations.
      return { state: 'pullable', architectures: architectures.filter((one) => one !== 'unknown'), problem: null };
    }
    const { success, data } = Failure.safeParse(answer);
    const problem = success ? shown(data.message).slice(0, 300) : null;
    return { state: success ? 'missing' : 'unknown', architectures: [], problem };
  } catch (error) {
    return { state: 'unknown', architectures: [], problem: sentenceOf(error) };
  }
}

const Published = z.array(
  z.object({
    Names: z.array(z.string()).min(1),
    Ports: z.array(z.object({ PublicPort: z.int().optional(), Type: z.string().optional() })).nullish(),
  }),
);

/** An engine may hand a port on by rules alone: nothing listens then. */
async function portsPublished(dockerHost: string | null, ports: readonly number[]): Promise<PortTaken[]> {
  try {
    const address = dockerAddress(dockerHost) as string;
    const containers = Published.parse(await askEngine(address, '/containers/json'));
    const all = containers.flatMap(({ Names: [name = ''], Ports }) =>
      (Ports ?? []).map(({ PublicPort, Type }) => ({ port: PublicPort, type: Type, name: shown(name.slice(1, 100)) })),
    );
    return ports.flatMap((port) => {
      const one = all.find((other) => other.port === port && other.type !== 'udp');
      return one ? [{ port, by: `container ${one.name}` }] : [];
    });
  } catch {
    return [];
  }
}

async function hasNft(): Promise<boolean> {
  try {
    await systemTools.run('nft', ['list', 'tables']);
    return true;
  } catch {
    return false;
  }
}

async function hasFreezer(): Promise<boolean> {
  const group = makeRunCgroup(`probe-${process.pid}`);
  if (group === null) return false;
  await removeCgroup(group);
  return true;
}

/** Null where something can be made in it. Root is told by the kernel too: of a mount that is read-only, of a folder that may not change. */
function whyUnwritable(folder: string): { problem: string; fix: string } | null {
  try {
    accessSync(folder, constants.W_OK);
    return null;
  } catch (error) {
    const isReadOnly = (error as NodeJS.ErrnoException).code === 'EROFS';
    return isReadOnly
      ? {
          problem: `${folder} is on a disk that is read-only`,
          fix: `make it writable, or name another folder (--data DIR): findmnt -T ${folder}`,
        }
      : {
          problem: `${folder} cannot be written: ${sentenceOf(error)}`,
          fix: `name another folder (--data DIR), or see why: lsattr -d ${folder}; ls -ld ${folder}`,
        };
  }
}

/** What lies at that folder, or would. */
export function placeFacts(wanted: string, mesh: string): DeployFacts['place'] {
  const missing = placePrograms.filter((name) => findProgram(name, toolEnv.PATH) === null);
  try {
    const path = realFolder(wanted);
    const there = existingAt(path);
    const unwritable = whyUnwritable(there);
    if (unwritable !== null) return unwritable;
    const content = contentOf(path);
    const claim = content === 'place' ? readClaim(path) : null;
    const isGoing = claim?.mesh === mesh && claim.state === 'removing';
    const own = claim?.mesh === mesh && !isGoing ? { kind: claim.kind, data: claim.data } : null;
    const { totalBytes, freeBytes } = diskOf(statfsSync(there));
    const fileSystem = mountOver(there)?.type ?? 'an unknown file system';
    const root = process.getuid?.() === 0;
    return { path, content, own, isGoing, fileSystem, root, missing, totalBytes, freeBytes };
  } catch (error) {
    if (error instanceof AutogitError) return { problem: error.message, fix: error.hint };
    return { problem: `${wanted} cannot be looked at: ${sentenceOf(error)}`, fix: 'name another folder: --data DIR' };
  }
}

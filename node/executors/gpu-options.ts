import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceRequest, HostConfig } from 'dockerode';
import type { Gpu } from '../../protocol/report.ts';

/** What a container needs to have the GPUs of its job, and no others. */
interface GpuOptions {
  host: Pick<HostConfig, 'DeviceRequests' | 'Devices' | 'GroupAdd' | 'ShmSize'>;
  env: string[];
}

export interface GpuFacts {
  /** CDI devices that the engine knows, by their full names. */
  cdi: ReadonlySet<string>;
  /** Device nodes of a card of AMD or Intel. */
  nodesOf(uuid: string): string[];
}

interface Places {
  sys: string;
  dev: string;
}

/** CDI devices that an engine has found (from Engine 28 on, 25 with its feature switched on). */
export const cdiDevices = (info: object): Set<string> => {
  const { DiscoveredDevices: found } = info as { DiscoveredDevices?: { Source?: string; ID?: string }[] | null };
  return new Set((found ?? []).flatMap(({ ID }) => (typeof ID === 'string' ? ID : [])));
};

/**
 * The nodes of one card, `card1` and `renderD129`, by its PCI slot, which is its uuid here. All of /dev/dri where the kernel does
 * not tell, as for an engine elsewhere.
 */
export function deviceNodes(uuid: string, { sys, dev }: Places = { sys: '/sys', dev: '/dev' }): string[] {
  const slot = /^pci-([\da-f]{4,8}:[\da-f]{2}:[\da-f]{2}\.[\da-f])$/.exec(uuid)?.[1];
  try {
    const names = slot === undefined ? [] : readdirSync(join(sys, 'bus/pci/devices', slot, 'drm'));
    const nodes = names.filter((name) => /^(card|renderD)\d+$/.test(name)).map((name) => join(dev, 'dri', name));
    return nodes.length > 0 ? nodes.sort() : [join(dev, 'dri')];
  } catch {
    return [join(dev, 'dri')];
  }
}

/** Groups that may open them: a job whose image has another user than root is in them too. */
const groupsOf = (nodes: readonly string[]): string[] => {
  const groups = nodes.flatMap((path) => {
    const { gid } = statSync(path, { throwIfNoEntry: false }) ?? { gid: 0 };
    return gid > 0 ? String(gid) : [];
  });
  return [...new Set(groups)];
};

const nvidiaKind = 'nvidia.com/gpu';

/** By CDI where the engine has all of them by it, else by NVIDIA's own hook, in both cases by UUID. */
function nvidiaRequest(uuids: readonly string[], cdi: ReadonlySet<string>): DeviceRequest {
  const named = uuids.map((uuid) => `${nvidiaKind}=${uuid}`);
  return named.every((name) => cdi.has(name))
    ? { Driver: 'cdi', Count: 0, DeviceIDs: named, Capabilities: [], Options: {} }
    : { Driver: 'nvidia', Count: 0, DeviceIDs: [...uuids], Capabilities: [['gpu']], Options: {} };
}

/** Without any of NVIDIA's, none is seen, also where its runtime is the engine's default. */
export function gpuOptions(gpus: readonly Gpu[], { cdi, nodesOf }: GpuFacts): GpuOptions {
  const nvidia = gpus.filter(({ vendor }) => vendor === 'nvidia').map(({ uuid }) => uuid);
  const others = gpus.filter(({ vendor }) => vendor !== 'nvidia').flatMap(({ uuid }) => nodesOf(uuid));
  const nodes = [...new Set([...(gpus.some(({ vendor }) => vendor === 'amd') ? ['/dev/kfd'] : []), ...others])];
  const groups = groupsOf(nodes);
  return {
    host: {
      // Data loaders of training jobs share tensors by /dev/shm; 64 MiB, the engine's default, breaks them.
      ...(gpus.length > 0 && { ShmSize: 1 << 30 }),
      ...(nvidia.length > 0 && { DeviceRequests: [nvidiaRequest(nvidia, cdi)] }),
      ...(nodes.length > 0 && {
        Devices: nodes.map((path) => ({ PathOnHost: path, PathInContainer: path, CgroupPermissions: 'rw' })),
      }),
      ...(groups.length > 0 && { GroupAdd: groups }),
    },
    env: nvidia.length > 0 ? [] : ['NVIDIA_VISIBLE_DEVICES=void'],
  };
}

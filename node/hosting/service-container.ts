import { createHash } from 'node:crypto';
import type { ContainerCreateOptions } from 'dockerode';
import { labels as runLabels } from '../executors/docker-container.ts';
import type { ServiceKey, ServiceSpec } from './service-host.ts';

/** What GitLab's container is made of, and how it is known again. */
export const serviceLabels = {
  data: 'autogit.gitlab',
  epoch: 'autogit.epoch',
  mesh: 'autogit.mesh',
  host: 'autogit.host',
  /** A hash of all that it was made of. */
  spec: 'autogit.spec',
} as const;

/**
 * Of a clone (clone/), in whose labels mesh and host stand too. Never `autogit.gitlab`: what goes by that is a GitLab that serves,
 * or may not (SAFETY H8).
 */
export const cloneLabels = { data: 'autogit.gitlab-clone', purpose: 'autogit.purpose' } as const;

/** Of the container and of its network. */
export const serviceName = (data: string): string => `autogit-gitlab-${data}`;

/** A name of an interface has 15 characters at most; it is known before there is a container, so the guard stands first. */
export const bridgeOf = (data: string): string =>
  `aggl-${createHash('sha256').update(data).digest('hex').slice(0, 10)}`;

/**
 * Null for a container that only looks like one of ours. One that was booted beside the grace (beside/) has the labels of a clone for
 * ever, as an engine changes none: it is GitLab's from the moment at which it has that name.
 */
export function keyOf(labels: Readonly<Record<string, string>>, names: readonly string[]): ServiceKey | null {
  const { [serviceLabels.mesh]: mesh, [serviceLabels.host]: host, [cloneLabels.data]: booted } = labels;
  const taken = booted !== undefined && isTakenIn(booted, names) ? booted : undefined;
  const data = labels[serviceLabels.data] ?? taken;
  const epoch = Number(labels[serviceLabels.epoch]);
  // A job's, whatever else its image has made of it.
  if (labels[runLabels.run] !== undefined) return null;
  if (!data || !mesh || !host || !Number.isSafeInteger(epoch)) return null;
  return { data, mesh, host, epoch };
}

/** A clone that was taken in: it serves, or may. `names`: as an engine lists them. */
export const isTakenIn = (data: string, names: readonly string[]): boolean =>
  names.some((name) => name.replace(/^\//, '') === serviceName(data));

const archNames: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };
/** Engines name machines as the kernel does, images as Go does. */
export const archOf = (name: string): string => archNames[name] ?? name;

export function serviceOptions(spec: ServiceSpec, hash: string): ContainerCreateOptions {
  return {
    name: serviceName(spec.data),
    Image: spec.imageId,
    Hostname: spec.hostname,
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    Labels: {
      [serviceLabels.data]: spec.data,
      [serviceLabels.epoch]: String(spec.epoch),
      [serviceLabels.mesh]: spec.mesh,
      [serviceLabels.host]: spec.host,
      [serviceLabels.spec]: hash,
    },
    // An engine that ends with the machine gives PostgreSQL and Redis so long, in seconds.
    StopTimeout: 120,
    // Its lamp has no start period, and a frozen one reads unhealthy: the function is asked instead.
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      NetworkMode: serviceName(spec.data),
      // Only who holds the lease starts it (SAFETY H8): an engine that comes back must not.
      RestartPolicy: { Name: 'no' },
      Privileged: false,
      CapDrop: ['NET_RAW', 'MKNOD'],
      ShmSize: spec.shmBytes,
      ...(spec.memoryLimitBytes > 0 && { Memory: spec.memoryLimitBytes, MemorySwap: -1 }),
      // Never Binds: an engine makes an empty folder of a source that is missing, and GitLab would begin anew in it.
      Mounts: Object.entries(spec.folders).map(([source, target]) => ({
        Type: 'bind' as const,
        Source: source,
        Target: target,
        BindOptions: { Propagation: 'rprivate' as const },
      })),
      // The image copies all of GitLab's own logs to its output.
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '2' } },
    },
  };
}

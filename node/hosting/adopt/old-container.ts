import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import type { Clock } from '../../clock.ts';
import { DockerConnection } from '../../executors/docker-connection.ts';
import { isEngineAway, noDocker, statusOf } from '../../executors/docker-engine.ts';
import { omnibusContainers } from '../../machine/omnibus-containers.ts';
import { dataOf } from '../protect/protected-container.ts';
import type { ServiceHost } from '../service-host.ts';
import type { OldContainer } from './adopt-ports.ts';

/** GitLab's own services get so long to end: its database writes all that it has. */
export const graceMs = 180_000;

/** By the Docker Engine of this machine. Throws `no-docker` while that is away. */
export function oldContainer(
  dockerHost: string | null,
  clock: Pick<Clock, 'bootMs'>,
  host: Pick<ServiceHost, 'stop'>,
): OldContainer {
  const connection = new DockerConnection(dockerHost, clock);
  const on = async <T>(id: string, act: (one: Docker.Container) => Promise<T>): Promise<T> => {
    const docker = await connection.docker();
    try {
      return await act(docker.getContainer(id));
    } catch (cause) {
      if (isEngineAway(cause)) return noDocker(cause);
      if (statusOf(cause) === 404) throw cause;
      throw new AutogitError(
        'executor-failed',
        `the engine does not do that with the old container: ${sentenceOf(cause)}`,
        {
          cause,
          hint: `look at it: docker inspect ${id.slice(0, 12)}`,
        },
      );
    }
  };
  return {
    look: (id) =>
      on(id, async (one) => {
        const { Name, State } = await one.inspect();
        return { name: Name.replace(/^\//, ''), isRunning: State.Running, startedAt: State.StartedAt };
      }).catch((error: unknown) => {
        if (statusOf(error) === 404) return null;
        throw error;
      }),
    setRestart: (id, RestartPolicy) => on(id, (one) => one.update({ RestartPolicy })),
    stop: (id) => host.stop(id, graceMs),
    rename: (id, name) =>
      on(id, (one) =>
        one.rename({ name }).then(
          () => true,
          (cause: unknown) => {
            if (statusOf(cause) !== 409) throw cause;
            return false;
          },
        ),
      ),
    async otherOn({ container: { id }, folders }) {
      const data = folders.find(({ inside }) => inside === '/var/opt/gitlab')?.outside;
      const all = await omnibusContainers(dockerHost, (one) => dataOf(one) === data);
      return all.find((one) => one.isRunning && one.id !== id && dataOf(one) === data)?.name ?? null;
    },
    start: (id) =>
      on(id, (one) =>
        one.start().catch((cause: unknown) => {
          // 304: it runs already.
          if (statusOf(cause) !== 304) throw cause;
        }),
      ),
  };
}

import Docker from 'dockerode';

/** What the engine alone costs: containers of the same image, by the same library. */
const docker = new Docker();

/** ms of create, start, wait and remove. */
export async function bareContainer(image: string, script: string): Promise<number> {
  const began = performance.now();
  const container = await docker.createContainer({ Image: image, Cmd: ['sh', '-c', script], NetworkDisabled: true });
  await container.start();
  await container.wait();
  await container.remove();
  return performance.now() - began;
}

/** From its creation until its first byte of output is here. Removed before this resolves. */
export async function firstByteOf(image: string, script: string): Promise<void> {
  const container = await docker.createContainer({ Image: image, Cmd: ['sh', '-c', script] });
  try {
    const output = await container.attach({ stream: true, stdout: true, stderr: true });
    const first = new Promise<void>((resolve, reject) => {
      output.once('data', () => resolve());
      output.once('end', () => reject(new Error('the container said nothing')));
    });
    await container.start();
    await first;
    await container.wait();
  } finally {
    await container.remove({ force: true });
  }
}

/**
 * Seconds until a script with this machine's own programs (read only) has ended in a container that sees one folder of
 * it and its network: what the official runner's docker executor does for a stage of its helper. Removed before this resolves.
 */
export async function helperContainer(image: string, script: string, folder: string): Promise<number> {
  const began = performance.now();
  const container = await docker.createContainer({
    ...{ Image: image, Cmd: ['/bin/bash', '-ec', script], WorkingDir: folder },
    HostConfig: {
      NetworkMode: 'host',
      Binds: [...['/usr', '/lib', '/lib64', '/bin'].map((path) => `${path}:${path}:ro`), `${folder}:${folder}`],
    },
  });
  try {
    await container.start();
    const { StatusCode } = (await container.wait()) as { StatusCode: number };
    if (StatusCode !== 0)
      throw new Error(`${script} ended with ${StatusCode}: ${await container.logs({ stderr: true })}`);
    return (performance.now() - began) / 1000;
  } finally {
    await container.remove({ force: true });
  }
}

/** ms: a network of their own, two services and a job's container on it, until the job has said something. */
export async function bareServices(image: string, service: string, script: string): Promise<number> {
  const began = performance.now();
  const name = `bench-services-${process.pid}`;
  const network = await docker.createNetwork({ Name: name });
  const made: Docker.Container[] = [];
  try {
    for (let i = 0; i < 2; i++) {
      const container = await docker.createContainer({
        Image: service,
        Env: ['MODE=m', 'PASSWORD=p', 'SECRET=s'],
        HostConfig: { NetworkMode: name },
      });
      made.push(container);
      await container.start();
    }
    const job = await docker.createContainer({
      Image: image,
      Cmd: ['sh', '-c', script],
      HostConfig: { NetworkMode: name },
    });
    made.push(job);
    const output = await job.attach({ stream: true, stdout: true, stderr: true });
    const first = new Promise<void>((resolve) => output.once('data', () => resolve()));
    await job.start();
    await first;
    return performance.now() - began;
  } finally {
    for (const container of made) await container.remove({ force: true });
    await network.remove();
  }
}

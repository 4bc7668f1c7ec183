import { executorContract } from '../contract/executor-contract.ts';
import { makeTestImages } from './test-image.ts';

const node = `test-${process.pid}`;

executorContract('docker', () => ({
  kind: 'docker',
  options: { node },
  image: makeTestImages().bash,
}));

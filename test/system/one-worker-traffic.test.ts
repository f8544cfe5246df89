import { trafficSuite } from './topology/traffic-suite.ts';
import { BATCH, PACKET } from './topology/variants.ts';

for (const variant of [BATCH, PACKET]) trafficSuite(variant);

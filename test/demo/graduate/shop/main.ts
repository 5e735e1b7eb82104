/** The shop as a process. It is started once, knows its own database, and writes until the end. */
import { obeyParent, tellParent } from '../../obey-parent.ts'
import type { ShopReport, ShopSettings } from '../messages.ts'
import { customers, runCustomers, type Sales } from './customers.ts'
import { Shop } from './orders.ts'

const parent = await obeyParent()
const { connectionString, history, perSecond } = parent.settings as ShopSettings
const sales: Sales = { committed: 0, rolledBack: 0, late: 0 }
const report = (): void => tellParent({ is: 'sales', pid: process.pid, ...sales } satisfies ShopReport)

const shop = new Shop(connectionString)
await shop.register(...customers)
const reporting = setInterval(report, 50)
await runCustomers(shop, sales, { history, perSecond, leave: parent.leave })
await shop.close()
clearInterval(reporting)
report()
process.exit(0)

/* What the records behind an alarm are called, and how their figures are written: by the end of a key, its unit. */
import { L, esc, n0, n1, n2, near, pct } from "./words.js";

export const KINDS = {
  transaction: L("交易", "sale"), identity: L("身份", "identity"), device_event: L("事件", "event"), totalizer_gap: L("泵码差", "totalizer gap"),
  samples: L("读数", "samples"), work_order: L("工单", "work order"), tax_memory: L("税控记录", "tax memory"), sequence: L("流水号", "numbers"),
  indicator: L("指标", "indicator"), risk_grade: L("风险等级", "risk grade"), credit: L("信用评分", "credit"), paper: L("证照", "paper"),
  seal: L("铅封", "seal"), covert_test: L("暗访检测", "covert test"), delivery: L("卸油", "delivery"), delivery_paper: L("卸油单", "delivery paper"),
  deliveries_of_truck: L("该车卸油", "drops of the lorry"), deliveries_of_supplier: L("该供货方卸油", "drops of the supplier"),
  deliveries_of_station: L("该站卸油", "drops at the station"), tank_rise: L("罐存上升", "tank rise"), tank_fall: L("罐存下降", "tank fall"),
  tank_balance: L("罐枪平衡", "tank balance"), tank_regression: L("销量对罐存", "sales against tanks"), tank_day: L("液位计一天", "a gauge's day"),
  tank_density: L("罐内密度", "density in the tank"), load_density: L("来油密度", "density of the load"), tank_reading: L("液位读数", "tank reading"),
  tank_readings: L("液位读数", "tank readings"), water_height: L("水位", "water"), night_balance: L("夜间平衡", "night balance"),
  monthly_balance: L("月度平衡", "monthly balance"), nozzle_error: L("枪误差", "nozzle's error"), crossed_tanks: L("两罐互串", "crossed tanks"),
  declaration: L("申报", "declaration"), demand: L("销量", "demand"), own_use: L("自用", "own use"), display: L("显示", "display"),
  flow: L("流速", "flow"), silence: L("静默", "silence"), power_cut: L("停电", "power cut"), finding: L("发现", "finding"),
  resubmission: L("重复上报", "reported again"), run_of_sales: L("雷同序列", "run of sales"), storage: L("存储", "storage"),
};
export const KEYS = {
  // times
  end: L("时间", "time"), at: L("时间", "time"), time: L("时间", "time"), start: L("开始", "start"), begin: L("开始", "begin"), since: L("自", "since"),
  until: L("至", "until"), from: L("自", "from"), to: L("至", "to"), after: L("之后", "after"), before: L("之前", "before"), onset: L("起点", "onset"),
  down_since: L("断线自", "down since"), back_at: L("恢复", "back at"), before_end: L("早先时间", "the earlier time"), other_end: L("另一时间", "the other time"),
  day_start: L("当天起", "day from"), first_sale_after: L("之后首笔", "first sale after"), last_valid_day: L("有效期至", "valid to"),
  days_left: L("剩余天数", "days left"), days_over: L("过期天数", "days over"), days: L("天数", "days"), hours: L("小时", "hours"),
  off_minutes: L("停电分钟", "minutes off"), ahead_s: L("时钟快", "clock ahead"), step_s: L("时钟跳变", "clock step"),
  // who and what
  reason: L("原因", "reason"), cause: L("原因", "cause"), rule: L("规则", "rule"), kind: L("类别", "kind"), subject: L("对象", "subject"),
  title_zh: L("内容", "in Chinese"), title_en: L("英文内容", "what"), findings: L("发现", "findings"), condition: L("条件", "condition"), field: L("字段", "field"),
  registered: L("备案", "registered"), observed: L("实测", "observed"), state: L("状态", "state"), certificate_no: L("证书号", "certificate"),
  work_order: L("工单", "work order"), quality_report: L("质检单", "quality report"), supplier: L("供货方", "supplier"), truck: L("车号", "lorry"),
  tank: L("油罐", "tank"), tanks: L("油罐", "tanks"), nozzle_id: L("油枪", "nozzle"), dispenser_id: L("加油机", "dispenser"),
  other_station: L("另一站", "the other station"), stations: L("站数", "stations"), payment: L("支付", "payment"), explains: L("可解释", "explains it"),
  // a sale
  displayed_l: L("显示", "displayed"), counted_l: L("编码器", "encoder"), encoder_l: L("编码器", "encoder"), tax_l: L("税控", "tax"), tax_cny: L("税控金额", "tax"),
  measured_l: L("实测", "measured"), pulses: L("脉冲", "pulses"), pulse_l: L("脉冲当量", "litres a pulse"), error_percent: L("误差", "error"),
  short_cny: L("少付", "short"), amount_cny: L("金额", "amount"), unit_price: L("单价", "price"), price_cny_l: L("单价", "price"),
  reference_uncertainty_percent: L("标准器不确定度", "uncertainty of the measure"), standard_deviation_percent: L("标准差", "standard deviation"),
  volume_l: L("体积", "volume"), l_min: L("流速 L/min", "L/min"), faster_percent: L("快", "faster"), highest_of_others: L("他站最高", "highest elsewhere"),
  // numbers and totals
  totalizer_l: L("泵码", "totalizer"), totalizer_cny: L("泵码金额", "totalizer"), gap_l: L("差", "gap"), gap_cny: L("差额", "gap"),
  gap_price: L("差价", "gap price"), without_totalizer: L("无泵码笔数", "sales without totalizer"), step: L("步长", "step"), missing: L("缺号", "missing"),
  numbers_missing: L("缺号", "numbers missing"), by_totalizer: L("由泵码得出", "by totalizer"), moved_l: L("泵码走", "totalizer moved"),
  sales: L("笔数", "sales"), fillings: L("笔数", "fillings"), all_fillings: L("全部笔数", "all fillings"), counted: L("计数", "counted"),
  sales_looked_at: L("所查笔数", "sales looked at"), without_tax_record: L("无税控笔数", "without tax record"),
  without_tax_record_l: L("无税控升数", "without tax record"), irregular: L("异常笔数", "irregular"), limit: L("界限", "limit"),
  litres: L("升数", "litres"), cny: L("金额", "amount"), first: L("首报", "first"), later: L("后报", "later"),
  // books
  declared_l: L("申报", "declared"), declared_cny: L("申报额", "declared"), declared_20c_l: L("单据", "papers"), papers_20c_l: L("单据", "papers"),
  metered_l: L("计量", "metered"), metered_cny: L("计量额", "metered"), not_declared_l: L("少申报", "not declared"), not_declared_cny: L("少申报额", "not declared"),
  perhaps_sold_l: L("至多已售", "at most sold"), usual_l: L("往常", "usual"), peers_percent: L("同行变化", "peers"), peers_median: L("同行中位", "peers' median"),
  points: L("得分", "points"), most_points: L("满分", "most"), grade: L("等级", "grade"), value: L("数值", "value"), unit: L("单位", "unit"),
  platform_use: L("平台使用", "use of the platform"), integrity: L("诚信", "integrity"), compliance: L("合规", "compliance"), z: L("标准分", "z score"),
  // the tank
  rise_20c_l: L("上升", "rise"), fall_20c_l: L("下降", "fall"), sold_20c_l: L("售出", "sold"), sold_l: L("售出", "sold"), moved_20c_l: L("移动", "moved"),
  step_20c_l: L("跳变", "step"), lost_20c_l: L("损失", "lost"), gained_20c_l: L("多出", "gained"), excess_20c_l: L("多出", "excess"), missing_l: L("缺少", "missing"),
  fell_l: L("下降", "fell"), litres_20c: L("升数（20 °C）", "litres at 20 °C"), limit_l: L("界限", "limit"), noise_l: L("噪声", "noise"),
  sd_l: L("标准差", "deviation"), sd: L("标准差", "deviation"), sd_percent: L("标准差", "deviation"), sd_mm: L("标准差", "deviation"), sd_kg_m3: L("标准差", "deviation"),
  lost_by_day_l_per_h: L("白天每小时损失 L", "lost by day, L/h"), silent: L("无任何信号", "nothing else told"), readings: L("读数个数", "readings"),
  small_hours_over_even: L("凌晨倍数", "small hours over even"), drops: L("卸油次数", "drops"), effect_percent: L("平均误差", "mean error"),
  nats: L("对数似然", "nats"), odds: L("胜率", "odds"), rival: L("次选原因", "runner-up"),
  value_l_h: L("每小时", "by the hour"), low_l_h: L("下限", "low"), high_l_h: L("上限", "high"), low_percent: L("下限", "low"), high_percent: L("上限", "high"),
  rival_shows_more: L("次选为多显", "runner-up shows more"),
  rival_odds: L("对次选胜率", "odds against it"), share: L("份额", "share"), own_tank_keeps: L("本罐未降", "own tank keeps"),
  other_tank_loses: L("他罐下降", "other tank loses"), value_percent: L("误差", "error"), before_percent: L("此前误差", "error before"),
  before_sd_percent: L("此前标准差", "deviation before"), capacity_l: L("容积", "capacity"), height_mm: L("液位", "height"), water_mm: L("水位", "water"),
  temperature_c: L("温度", "temperature"), before_mm: L("此前", "before"), now_mm: L("现在", "now"), steady_mm_per_day: L("每天 mm", "mm a day"),
  before_kg_m3: L("此前", "before"), after_kg_m3: L("之后", "after"), load_kg_m3: L("来油", "load"), certificate_kg_m3: L("单据", "papers"),
  density_20c_kg_m3: L("密度（20 °C）", "density at 20 °C"), variance_mm2: L("方差", "variance"), usual_variance_mm2: L("往常方差", "usual variance"),
  unmoved_share: L("不动占比", "unmoved"), stuck_share: L("卡住占比", "stuck"), idle_intervals: L("无售时段", "idle intervals"),
  intervals_with_sales: L("有售时段", "intervals with sales"),
};

/* Codes that stand as values of `kind` and `rival`. */
const VALUES = {
  nozzle: L("一支枪", "one nozzle"), some: L("某一支枪", "some nozzle"), all_nozzles: L("全部油枪", "all nozzles"), leak: L("油罐渗漏", "a leak"),
  chart: L("容积表", "the chart"), part: L("部分加油", "some fillings"), inspections: L("避检", "about inspections"), level: L("自首日起", "since the first day"),
  repair: L("维修", "repair"), install: L("安装", "installation"), calibration: L("检定调校", "calibration"), inspection: L("检查", "inspection"),
};

const UNITS = [["_l_h", "L/h"], ["_20c_l", "L"], ["_l", "L"], ["_kg_m3", "kg/m³"], ["_mm2", "mm²"], ["_mm", "mm"], ["_s", "s"], ["_c", "°C"]];

/** Its word; a key that ends in an id, as `fell_l S17-T1`, keeps that. */
export function word(key) {
  const [name, ...more] = key.split(" ");
  return esc([KEYS[name] ?? name, ...more].join(" "));
}
/** A figure with its unit, a time as a clock shows it, yes and no. */
export function figure(key, value, now) {
  if (typeof value === "boolean") return value ? L("是", "yes") : L("否", "no");
  if (typeof value === "string" && /^(kind|rival)$/.test(key) && Object.hasOwn(VALUES, value)) return VALUES[value];
  if (typeof value === "string") return esc(/^\d{4}-\d\d-\d\dT/.test(value) ? near(value, now) : value);
  if (typeof value !== "number") return esc(value);
  const name = key.split(" ")[0];
  if (/(^|_)(sd|deviation|uncertainty)_percent$/.test(name)) return `${n2(value)}%`;
  if (name.endsWith("_percent")) return pct(value);
  if (/^cny$|_cny$|_?price$|_cny_l$/.test(name)) return `¥${n2(value)}`;
  if (name.endsWith("share")) return `${n1(100 * value)}%`;
  const unit = name === "litres" ? "L" : UNITS.find(([end]) => name.endsWith(end))?.[1];
  if (unit) return `${name === "pulse_l" ? value : Math.abs(value) < 0.1 ? esc(Number(value.toPrecision(2))) : n2(value)} ${unit}`;
  return Number.isInteger(value) ? n0(value) : esc(value);
}
